"""Random pairs of variants: a diagnostic, or weights that load; and claims that hold."""

from __future__ import annotations

import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import tantra_dsl
from tantra_dsl.diagnostics.core import SpecError
from tantra_dsl.diff import diff
from tantra_dsl.migrate import Options, plan
from tantra_dsl.migrate.table import document, text
from tests.diff.random_specs import Model, Spelling, changed, changes, models
from tests.diff.random_specs import text as spelled
from tests.migrate.conftest import module_of, random_weights, result

EXACT = 1e-10
GROWS: dict[str, tuple[str, ...]] = {
    "layers": ("2", "3"),
    "layers.attention.heads": ("4", "8"),
    "layers.attention.kv_heads": ("", "1", "2", "4"),
    "layers.attention.head_dim": ("8",),
    "layers.ffn.hidden": ("24", "40"),
    "layers.ffn.gated": ("", "true"),
    "layers.attention.even": ("causal",),
    "layers.attention.odd": ("causal", "causal and window(9)"),
    "layers.attention.score": ("", "softcap(20)"),
    "layers.attention.qk_norm": ("", "rms"),
    "layers.attention.sink": ("", "true"),
    "layers.wiring": ("pre(layernorm)", "sandwich(rms(eps: 1e-4))"),
    "context": ("24", "40"),
    "dim": ("16", "24", "32"),
    "head": ("tied", "language_model"),
}
"""Knobs whose changes keep the function more often than not."""
growing = st.fixed_dictionaries({knob: st.sampled_from(values) for knob, values in GROWS.items()})
options = st.builds(
    Options,
    layers=st.sampled_from(["identity", "stack"]),
    new_rows=st.sampled_from(["mean", "init"]),
    start_missing=st.booleans(),
    drop=st.booleans(),
)


def sound(model: Model) -> str:
    """The model as text; what does not check is no case."""
    written = spelled(model, Spelling())
    try:
        tantra_dsl.loads(written).graph()
    except SpecError:
        assume(False)
    return written


def check(before: str, after: str, chosen: Options) -> str:
    """Migrates random weights where it can be done; the claim, or an empty text where there is a diagnostic."""
    made = plan(tantra_dsl.loads(before), tantra_dsl.loads(after), chosen)
    assert text(made)
    document(made)
    weights = random_weights(before)
    try:
        new = made.carry(weights, 1)
    except SpecError as refused:
        told = refused
    else:
        told = SpecError([])
    if told.diagnostics:
        assert {problem.code[:3] for problem in told.diagnostics} == {"W02"}
        return ""
    assert {name: tensor.shape for name, tensor in new.items()}.items() <= {
        name: tensor.shape for name, tensor in module_of(after).state_dict().items()
    }.items()
    tokens = torch.randint(0, 61, (2, 11), generator=torch.Generator().manual_seed(1))
    old_scores, new_scores = result(before, weights, tokens), result(after, new, tokens)
    if diff(made.before, made.after).verdict != "function":
        assert made.claim.kind != "another", made.claim
    if made.claim.kind != "another":
        error = (new_scores - old_scores).abs().max() / old_scores.abs().max()
        assert error < EXACT, (before, after, made.claim)
    return made.claim.kind


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(models, changes, options)
def test_any_two_variants(model: Model, steps: dict[str, int], chosen: Options) -> None:
    check(sound(model), sound(changed(model, steps)), chosen)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(models, growing, growing, options)
def test_variants_that_mostly_grow(model: Model, first: Model, second: Model, chosen: Options) -> None:
    check(sound({**model, **first}), sound({**model, **second}), chosen)
