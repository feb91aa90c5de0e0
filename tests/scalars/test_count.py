"""Counts of allowed pairs, against counting one by one."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tantra_dsl.scalars.count import Count, allowed_keys, allowed_pairs, exact_zones
from tantra_dsl.scalars.evaluate import Value, evaluate
from tantra_dsl.scalars.ir import Program, Scalar
from tantra_dsl.scalars.walk import captures_of, variables_of
from tests.counted import counted_calls
from tests.scalars.programs import CAPTURES, mask, predicates, truths

LENGTHS = st.tuples(st.integers(0, 9), st.integers(0, 9)).map(sorted)


def one_by_one(body: Scalar, queries: int, keys: int, docs: tuple[int, ...] = (), heads: int = 1) -> int:
    def read(capture: int, index: tuple[Value, ...]) -> Value:
        return docs[int(index[1])]

    places = itertools.product(range(keys - queries, keys), range(keys), range(heads))
    return sum(bool(evaluate(body, {"q": q, "k": k, "b": 0, "h": h}, read)) for q, k, h in places)


@settings(max_examples=300, deadline=None)
@given(predicates(), LENGTHS)
def test_counts_are_exact(body: Scalar, lengths: list[int]) -> None:
    queries, keys = lengths
    count = allowed_pairs(Program("mask", ("q", "k"), body), queries, keys)
    assert count == Count(one_by_one(body, queries, keys), "exact")


@settings(max_examples=200, deadline=None)
@given(predicates(with_fields=True), LENGTHS, st.tuples(*[st.integers(0, 2)] * 9))
def test_no_field_allows_more_than_the_upper_bound(body: Scalar, lengths: list[int], docs: tuple[int, ...]) -> None:
    queries, keys = lengths
    count = allowed_pairs(Program("mask", ("q", "k", "b"), body, CAPTURES), queries, keys)
    actual = one_by_one(body, queries, keys, docs)
    assert count.value is not None
    assert actual <= count.value if count.bound == "upper" else actual == count.value


@settings(max_examples=200, deadline=None)
@given(st.one_of(predicates(), truths(("q", "k"), depth=2)), st.integers(0, 8))
def test_the_bits_of_a_row(body: Scalar, query: int) -> None:
    assume(not captures_of(body) and variables_of(body) <= {"q", "k"})
    bits = allowed_keys(body, query, 9)
    assert [bool(bits >> k & 1) for k in range(9)] == [bool(evaluate(body, {"q": query, "k": k})) for k in range(9)]


@pytest.mark.parametrize(
    "text", ["k <= q", "k <= q and q - k < 3", "abs(q - k) <= 2 or k < 2", "q - k < 3 and k <= q or k < 2 or q < 1"]
)
def test_the_usual_masks_are_counted_in_closed_form(text: str) -> None:
    body = mask(text).body
    assert exact_zones(body) is not None
    for queries, keys in [(7, 7), (1, 7), (3, 8), (0, 4)]:
        assert allowed_pairs(mask(text), queries, keys).value == one_by_one(body, queries, keys)


def test_a_closed_form_does_not_depend_on_the_length() -> None:
    length = 10**9
    window = mask("k <= q and q - k < 4096")
    short = counted_calls(lambda: allowed_pairs(window, 10**4, 10**4))
    assert counted_calls(lambda: allowed_pairs(window, length, length)) <= short
    assert allowed_pairs(window, length, length) == Count(4096 * length - 4096 * 4095 // 2, "exact")


def test_irregular_masks_are_counted_by_rows_within_budget_and_unknown_beyond() -> None:
    strided = mask("k <= q and (q - k < 32 or k % 32 == 31)")
    small = allowed_pairs(strided, 100, 100)
    assert small == Count(one_by_one(strided.body, 100, 100), "exact")
    assert allowed_pairs(strided, 2048, 2048).bound == "exact"
    assert allowed_pairs(strided, 10**7, 10**7) == Count(None, "unknown")


def test_heads_are_counted_each() -> None:
    per_head = mask("if h % 2 == 0 then k <= q else k == q")
    assert allowed_pairs(per_head, 6, 6, heads=4) == Count(one_by_one(per_head.body, 6, 6, heads=4), "exact")
    assert allowed_pairs(mask("k <= q"), 6, 6, heads=4) == Count(4 * 21, "exact")


def test_lengths_may_occur_in_a_mask() -> None:
    assert allowed_pairs(mask("k < keys - 2"), 5, 5) == Count(15, "exact")


def test_without_a_mask_every_pair_counts() -> None:
    assert allowed_pairs(None, 3, 5, heads=2) == Count(30, "exact")


def test_more_queries_than_keys_have_no_positions() -> None:
    with pytest.raises(ValueError, match="last of"):
        allowed_pairs(mask("k <= q"), 5, 4)
