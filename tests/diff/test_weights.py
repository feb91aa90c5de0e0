"""What becomes of a checkpoint's tensors, held against the weights of both graphs."""

from __future__ import annotations

import math
from itertools import permutations

import pytest

import tantra_dsl
from tantra_dsl.diff import diff
from tantra_dsl.diff.weights import Tensor
from tantra_dsl.graph.paths import weights as weights_of
from tests.diff.conftest import SMALL, between, edited

NAMES = ("gpt2", "gpt2_denseformer", "gemma3_4b", "deepseek_v3", "t5_base", "transformer_base", "clip_vit_b_32")


def by_path(before: str, after: str) -> dict[str, Tensor]:
    return {tensor.path: tensor for tensor in between(before, after).weights}


@pytest.mark.parametrize(("a", "b"), list(permutations(NAMES, 2)))
def test_every_weight_of_both_models_is_accounted_for(a: str, b: str) -> None:
    before, after = tantra_dsl.load(a), tantra_dsl.load(b)
    found = diff(before, after).weights
    old, new = (list(weights_of(spec.graph())) for spec in (before, after))
    assert sum(t.count for t in found if t.new is not None) == len(new)
    assert sum(t.count for t in found if t.old is not None) == len(old)
    assert sum(math.prod(t.new) * t.count for t in found if t.new is not None) == sum(w.count for w in new)
    assert sum(math.prod(t.old) * t.count for t in found if t.old is not None) == sum(w.count for w in old)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_loads_its_own_weights(name: str) -> None:
    found = diff(tantra_dsl.load(name), tantra_dsl.load(name)).weights
    assert {tensor.fate for tensor in found} == {"loads"}


def test_fewer_heads_for_keys_and_values() -> None:
    found = by_path(SMALL, edited(("heads: 4,", "heads: 4, kv_heads: 2,")))
    key = found["layers.*.attention.k.weight"]
    assert (key.fate, key.old, key.new, key.count) == ("reshaped", (64, 64), (32, 64), 4)
    assert key.how == "rows 64 -> 32, 4 heads of 16 -> 2 of 16"
    assert found["layers.*.attention.q.weight"].fate == "loads"


def test_other_heads_in_the_same_numbers_load_and_say_so() -> None:
    query = by_path(SMALL, edited(("heads: 4,", "heads: 8,")))["layers.*.attention.q.weight"]
    assert (query.fate, query.how) == ("loads", "4 heads of 16 -> 8 of 8")


def test_more_layers() -> None:
    found = by_path(SMALL, edited(("4 of", "6 of")))
    assert found["layers[first 4].ffn.up.weight"].fate == "loads"
    assert (found["layers[last 2].ffn.up.weight"].fate, found["layers[last 2].ffn.up.weight"].count) == ("new", 2)


def test_fewer_layers() -> None:
    found = by_path(SMALL, edited(("4 of", "3 of")))
    assert found["layers[first 3].ffn.up.weight"].fate == "loads"
    assert found["layers[last].ffn.up.weight"].fate == "dropped"


def test_an_output_head_of_its_own() -> None:
    found = by_path(SMALL, edited(("head: tied", "head: language_model")))
    assert found["head.out.weight"].fate == "new"
    assert {t.fate for t in found.values() if t.path != "head.out.weight"} == {"loads"}


def test_norms_stored_minus_one() -> None:
    rms = edited(("let norm: layernorm", "let norm: rms"))
    found = by_path(rms, rms.replace("let norm: rms", "let norm: rms(weight: one_plus)"))
    assert found["final_norm.weight"].fate == "reshaped"
    assert found["final_norm.weight"].how == "minus 1, which the new model adds"


def test_experts_in_place_of_a_matrix_are_new() -> None:
    ffn = "ffn { hidden: 4 * dim, activation: gelu_tanh, bias: true }"
    found = between(SMALL, edited((ffn, "ffn: moe { experts: 4, top_k: 2, hidden: 64 }"))).weights
    fates = {(t.path, t.fate) for t in found if t.path == "layers.*.ffn.up.weight"}
    assert fates == {("layers.*.ffn.up.weight", "dropped"), ("layers.*.ffn.up.weight", "new")}


def test_layers_that_come_to_share_drop_all_but_the_first() -> None:
    found = by_path(SMALL, edited(("4 of block {", "4 of share one\n  block one {")))
    assert found["layers[first].ffn.up.weight"].fate == "loads"
    assert found["layers[last 3].ffn.up.weight"].fate == "dropped"
