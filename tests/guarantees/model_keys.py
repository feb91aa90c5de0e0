"""A use of every key of a model, and a change of its value; ``KEYS`` is as in ``components``."""

from __future__ import annotations

from tests.guarantees.components import Change, model


def keys(**values: tuple[dict[str, str], dict[str, str]]) -> dict[str, Change]:
    """Changes of ``model.key``."""
    return {f"model.{key}": Change(model(**before), model(**after)) for key, (before, after) in values.items()}


def replaced(key: str, before: str, after: str) -> dict[str, Change]:
    """A change of a line of the model itself."""
    text = model(embed="tokens + learned_positions")
    assert before in text
    return {f"model.{key}": Change(text, text.replace(before, after))}


def picture(size: int) -> str:
    """A model of square images."""
    return f"""model picture {{
  dim: 16
  input image: pixels[3, {size}, {size}]
  embed: seen
  head: classifier(classes: 3, pool: mean)
}}
module seen(image) {{
  patch = linear(patches(image, 8), dim)
  return patch + param([{size} * {size} // 64, dim])
}}
"""


FREE_NORM = {"wiring": "around", "definitions": "wiring around(f, x) = x + norm(f(x))"}
MASKED = {"sublayer": "attention { heads: 2 }", "objective": "masked_token"}
KEYS = {
    **replaced("vocab", "vocab: 64", "vocab: 65"),
    **replaced("context", "context: 16", "context: 32"),
    **replaced("dim", "dim: 16", "dim: 32"),
    **replaced("layers", "layers: 2", "layers: 3"),
    **keys(
        norm=({"facts": "norm: rms", **FREE_NORM}, {"facts": "norm: layernorm", **FREE_NORM}),
        init=({"facts": "init: normal(0.02)"}, {"facts": "init: normal(0.01)"}),
        residual_init=({"facts": "residual_init: normal(0.02)"}, {"facts": "residual_init: zeros"}),
        embed=({"embed": "tokens"}, {"embed": "tokens + sinusoidal"}),
        final_norm=({"norm": "rms"}, {"norm": "layernorm"}),
        head=({"head": "tied"}, {"head": "language_model"}),
        objective=(MASKED, {**MASKED, "head": "classifier(classes: 2)", "objective": "classification"}),
        wiring=({"wiring": "pre(rms)"}, {"wiring": "post(rms)"}),
        input=({"inputs": "input ids: tokens"}, {"inputs": "input ids: tokens[80]"}),
        let=(
            {"facts": "let h: 32", "sublayer": "ffn { hidden: h }"},
            {"facts": "let h: 16", "sublayer": "ffn { hidden: h }"},
        ),
    ),
    "model.pixels": Change(picture(32), picture(64)),
}
