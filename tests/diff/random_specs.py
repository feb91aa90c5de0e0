"""Random models as choices for a few knobs, and random spellings of each."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import strategies as st

MASKS = ("causal", "causal and window(7)", "causal and (q - k < 5 or k % 3 == 0)", "causal and window(9)")
KNOBS: dict[str, tuple[str, ...]] = {
    "vocab": ("97", "61"),
    "context": ("40", "24"),
    "dim": ("64", "96"),
    "init": ("", "normal(0.3)"),
    "embed": ("tokens", "tokens + learned_positions"),
    "final_norm": ("layernorm", "rms", "none"),
    "head": ("tied", "language_model"),
    "layers": ("4", "6"),
    "layers.wiring": ("pre(layernorm)", "post(rms)", "sandwich(rms(eps: 1e-4))"),
    "layers.attention.heads": ("2", "4"),
    "layers.attention.kv_heads": ("", "1"),
    "layers.attention.head_dim": ("", "8", "12"),
    "layers.attention.even": MASKS,
    "layers.attention.odd": MASKS,
    "layers.attention.position": ("", "rope", "rope(theta: 500)", "rope(theta: 500, scaling: linear(2))"),
    "layers.attention.score": ("", "alibi", "softcap(20)"),
    "layers.attention.qk_norm": ("", "rms"),
    "layers.attention.sink": ("", "true"),
    "layers.ffn.hidden": ("3 * dim", "80", "112"),
    "layers.ffn.activation": ("relu2", "silu"),
    "layers.ffn.gated": ("", "true"),
    "layers.second": ("", "attention { heads: 2, mask: causal }", "mlp { hidden: 48 }"),
    "train.steps": ("", "17"),
    "train.optimizer": ("", "adamw(lr: 0.004)", "muon"),
}
Model = dict[str, str]
"""A value for each knob; an empty one leaves the key out."""


@dataclass(frozen=True)
class Spelling:
    """How a model is written, which changes nothing: lets, named blocks, defaults, order, arithmetic."""

    lets: bool = False
    conditions: bool = False
    defaults: bool = False
    backwards: bool = False


models = st.fixed_dictionaries({knob: st.sampled_from(values) for knob, values in KNOBS.items()})
spellings = st.builds(Spelling, *(st.booleans() for _ in range(4)))
changes = st.dictionaries(st.sampled_from(sorted(KNOBS)), st.integers(1, 3), min_size=1, max_size=4)


def changed(model: Model, steps: dict[str, int]) -> Model:
    """``model`` with other values for some knobs: so many steps further among their values."""
    moved = {k: KNOBS[k][(KNOBS[k].index(model[k]) + step) % len(KNOBS[k])] for k, step in steps.items()}
    return {**model, **moved}


def text(model: Model, spelling: Spelling) -> str:
    """The model as a spec."""
    keys = _top(model)
    blocks, layers = _layers(model, spelling)
    members = [*keys, "\n".join(blocks), layers, *_train(model)]
    if spelling.lets:
        members = [f"let deep: {model['layers']}", *members]
        # A let that nothing reads is a mistake.
        members = ["let near: 7"] * any("window(near)" in member for member in members) + members
    if spelling.backwards:
        members = members[::-1]
    return "model m {\n  " + "\n  ".join(members) + "\n}\n"


def _top(model: Model) -> list[str]:
    named = ("vocab", "context", "dim", "init", "embed", "final_norm", "head")
    return [*(f"{key}: {model[key]}" for key in named if model[key]), "objective: next_token"]


def _layers(model: Model, spelling: Spelling) -> tuple[list[str], str]:
    """Definitions of blocks, and the key ``layers``."""
    even, odd = (_mask(model[f"layers.attention.{which}"], spelling) for which in ("even", "odd"))
    count = "deep" if spelling.lets else model["layers"]
    if even == odd:
        return [], f"layers: {count} of block {{ {_body(model, spelling, even)} }}"
    if spelling.conditions:
        body = _body(model, spelling, f"if i % 2 == 0 then {even} else {odd}")
        return [], f"layers: {count} of block {{ {body} }}"
    first = f"block first {{ {_body(model, spelling, even)} }}"
    return [first, f"block other extends first {{ attention.mask: {odd} }}"], f"layers: {count} of (first, other)"


def _mask(mask: str, spelling: Spelling) -> str:
    return mask.replace("window(7)", "window(near)") if spelling.lets else mask


def _body(model: Model, spelling: Spelling, mask: str) -> str:
    keys = ("heads", "kv_heads", "head_dim", "position", "score", "qk_norm", "sink")
    given = [(key, model[f"layers.attention.{key}"]) for key in keys]
    listed = [f"{key}: {value}" for key, value in given if value] + [f"mask: {mask}"]
    if spelling.defaults:
        listed += ["bias: false", "attention_dropout: 0"]
    ffn = [
        f"{key}: {model[f'layers.ffn.{key}']}"
        for key in ("hidden", "activation", "gated")
        if model[f"layers.ffn.{key}"]
    ]
    if spelling.backwards:
        listed, ffn = listed[::-1], ffn[::-1]
    second = f"second: {model['layers.second']}" if model["layers.second"] else ""
    members = [f"attention {{ {', '.join(listed)} }}", second, f"ffn {{ {', '.join(ffn)} }}"]
    return "\n".join([f"wiring: {model['layers.wiring']}", *members])


def _train(model: Model) -> list[str]:
    given = [f"{key}: {model[f'train.{key}']}" for key in ("steps", "optimizer") if model[f"train.{key}"]]
    return [f"train {{ {', '.join(given)} }}"] if given else []


__all__ = ["KNOBS", "Model", "Spelling", "changed", "changes", "models", "replace", "spellings", "text"]
