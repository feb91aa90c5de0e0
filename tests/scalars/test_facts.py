"""What is claimed of masks holds: against brute force for random predicates, exactly for the usual ones."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings

from tantra_dsl.scalars.evaluate import Value, evaluate
from tantra_dsl.scalars.facts import (
    additive_bias,
    empty_row,
    fields_used,
    is_exactly_causal,
    is_identity,
    lookahead,
    lookback,
    may_have_empty_row,
    variables_used,
)
from tantra_dsl.scalars.format import format_scalar, parse_scalar
from tantra_dsl.scalars.ir import Program, Scalar
from tantra_dsl.scalars.simplify import simplify
from tantra_dsl.scalars.walk import MAX_DEPTH, ScalarError
from tests.counted import counted_calls
from tests.scalars.programs import CAPTURES, mask, predicates, truths

LENGTH = 9
DOCS = ([0] * LENGTH, [0, 0, 1, 1, 1, 2, 2, 3, 3], [3, 1, 4, 1, 5, 9, 2, 6, 5])


def allowed(body: Scalar, docs: list[int], length: int = LENGTH) -> list[tuple[int, int]]:
    def read(capture: int, index: tuple[Value, ...]) -> Value:
        place = index[1]
        return docs[int(place) % LENGTH] if math.isfinite(place) else math.nan

    pairs = [(q, k) for q in range(length) for k in range(length)]
    return [(q, k) for q, k in pairs if evaluate(body, {"q": q, "k": k, "b": 0, "h": 0}, read)]


def program(body: Scalar) -> Program:
    return Program("mask", ("q", "k", "b", "h"), body, CAPTURES)


@settings(max_examples=200, deadline=None)
@given(predicates(with_fields=True))
def test_no_allowed_key_is_further_than_claimed(body: Scalar) -> None:
    ahead, back = lookahead(program(body)), lookback(program(body))
    for docs in DOCS:
        for q, k in allowed(body, docs):
            assert -back <= k - q <= ahead


@settings(max_examples=200, deadline=None)
@given(predicates(with_fields=True))
def test_rows_are_empty_only_where_admitted(body: Scalar) -> None:
    may, reason = may_have_empty_row(program(body))
    assert may == bool(reason)
    for docs in DOCS:
        for length in (1, 2, LENGTH):
            rows = {q for q, _ in allowed(body, docs, length)}
            assert may or len(rows) == length


@settings(max_examples=200, deadline=None)
@given(predicates(with_fields=True))
def test_rows_said_to_be_empty_are_empty(body: Scalar) -> None:
    row = empty_row(program(body))
    if row is not None and row < LENGTH:
        for docs in DOCS:
            assert row not in {q for q, _ in allowed(body, docs, row + 1)}


@settings(max_examples=200, deadline=None)
@given(predicates())
def test_only_the_causal_mask_is_called_causal(body: Scalar) -> None:
    if is_exactly_causal(program(body)):
        assert allowed(body, DOCS[0]) == [(q, k) for q in range(LENGTH) for k in range(q + 1)]


@settings(max_examples=250, deadline=None)
@given(truths(("q", "k"), depth=2))
def test_any_well_formed_mask_is_judged_soundly(body: Scalar) -> None:
    try:
        judged = program(simplify(body))
    except ScalarError:
        return
    ahead, back, (may, _) = lookahead(judged), lookback(judged), may_have_empty_row(judged)
    pairs = allowed(judged.body, DOCS[0], 5)
    assert all(-back <= k - q <= ahead for q, k in pairs)
    assert may or {q for q, _ in pairs} == set(range(5))
    assert not is_exactly_causal(judged) or pairs == [(q, k) for q in range(5) for k in range(q + 1)]
    row = empty_row(judged)
    assert row is None or row >= 5 or row not in {q for q, _ in allowed(judged.body, DOCS[0], row + 1)}


@pytest.mark.parametrize(
    "text", ["k <= q and k < keys", "k < keys - queries + 1 or k <= q", "q % k == 0", "q // k > k"]
)
def test_lengths_and_zero_divisors_are_no_obstacle(text: str) -> None:
    assert lookback(mask(text)) >= 0
    assert empty_row(mask(text)) in (None, 0)


@pytest.mark.parametrize(
    ("text", "ahead", "back"),
    [
        ("k <= q", 0, math.inf),
        ("not (k > q)", 0, math.inf),
        ("k <= q and q - k < 1024", 0, 1023),
        ("abs(q - k) <= 7", 7, 7),
        ("k <= q or k < 5", 4, math.inf),
        ("k <= q or k < table[b]", math.inf, math.inf),
        ("k <= q and (q - k < 8 or k % 8 == 7)", 0, math.inf),
        ("abs(q - k) <= 4 or k < 2 or q < 2", math.inf, math.inf),
        ("doc[b, q] == doc[b, k]", math.inf, math.inf),
        ("k <= q and doc[b, q] == doc[b, k]", 0, math.inf),
        ("k < q", -1, math.inf),
        ("doc[b, k] > 0", math.inf, math.inf),
        ("k // 4 <= q // 4", 3, math.inf),
        ("k // 4 == q // 4", 3, 3),
        ("k // 4 < q // 4", -1, math.inf),
        ("if h % 2 == 0 then k <= q else abs(q - k) < 3", 2, math.inf),
        ("(q - k) * (q - k) < 100", 9, 9),
        ("(q - k) ** 2 <= 100 and (q - k) % 3 == 0", 9, 9),
        ("min(k, q + 3) == k", 3, math.inf),
        ("max(k - q, 0) < 3", 2, math.inf),
        ("2 * k <= q", 0, math.inf),
        ("k - q <= 4 and (k - q) % 3 == 0", 3, math.inf),
        ("(k - q) / 2 < 3", 5, math.inf),
        ("exp(k - q) <= 2.5", 0, math.inf),
        ("k == q + 2", 2, -2),
        ("true", math.inf, math.inf),
        ("k < q and k > q", -math.inf, -math.inf),
    ],
)
def test_reach_of_masks(text: str, ahead: float, back: float) -> None:
    assert (lookahead(mask(text)), lookback(mask(text))) == (ahead, back)


def test_no_mask_reaches_everywhere() -> None:
    assert (lookahead(None), lookback(None), is_exactly_causal(None)) == (math.inf, math.inf, False)
    assert may_have_empty_row(None) == (False, "")


@pytest.mark.parametrize(
    "text", ["not (log(q - k) < 100)", "not (sqrt(q - k) < 100)", "not ((q - k) ** 0.5 - 1 < 100)", "(q - k) / 0 != 1"]
)
def test_values_that_are_not_numbers_do_not_hide_a_look_ahead(text: str) -> None:
    assert lookahead(mask(text)) == math.inf


@pytest.mark.parametrize("text", ["k <= q", "q >= k", "not (k > q)", "q - k >= 0", "k < q + 1", "k <= q or k == q"])
def test_every_spelling_of_causal_is_recognised(text: str) -> None:
    assert is_exactly_causal(mask(text))


@pytest.mark.parametrize(
    "text", ["k < q", "k <= q + 1", "k <= q and q - k < 10_00", "k <= q and doc[b, k] == 0", "true"]
)
def test_what_is_nearly_causal_is_not_called_so(text: str) -> None:
    assert not is_exactly_causal(mask(text.replace("_", "")))


@pytest.mark.parametrize(
    "text",
    [
        "k <= q",
        "q - k < 4",
        "doc[b, q] == doc[b, k]",
        "k <= q and (q - k < 4 or k % 4 == 3)",
        "k < 4",
        "k < q or k == 0",
    ],
)
def test_masks_that_leave_every_query_a_key(text: str) -> None:
    assert may_have_empty_row(mask(text)) == (False, "")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("k < q", "the query at position 0 has no key"),
        ("q - k >= 2 and q > 0", "the query at position 0 has no key"),
        ("q < 100", "the query at position 100 has no key"),
        ("k <= q and doc[b, k] == 0", "whether a query has a key depends on doc"),
    ],
)
def test_the_reason_for_an_empty_row(text: str, reason: str) -> None:
    assert may_have_empty_row(mask(text)) == (True, reason)


def test_a_row_that_a_field_decides_is_not_surely_empty() -> None:
    assert empty_row(mask("k <= q and doc[b, k] == 0")) is None


def test_a_large_predicate_is_judged_in_bounded_work() -> None:
    """A normal form of these forty alternatives would have 2**40 parts."""

    def judged(count: int) -> int:
        parts = [f"(abs(q - k - {i}) % 7 < 3 or k * q % {i + 2} == 1)" for i in range(count)]
        predicate = mask(" and ".join(parts))
        assert lookahead(predicate) == math.inf
        return counted_calls(lambda: lookahead(predicate))

    assert judged(40) < 5 * judged(20)


@pytest.mark.parametrize("text", ["({}) and k <= q", "k <= q and ({})"])
def test_a_causal_part_counts_wherever_it_stands(text: str) -> None:
    far = " or ".join(f"abs(q - k - {i}) % 7 == 3 and k * q % {i + 2} == 1" for i in range(40))
    assert lookahead(mask(text.format(far))) <= 0


def test_programs_at_the_depth_limit_are_judged() -> None:
    parts = [f"q - k == {2 * i}" for i in range(MAX_DEPTH // 3)]
    text = parts[0]
    for number, part in enumerate(parts[1:]):
        text = f"({text}) or {part}" if number % 2 else f"not (not ({text}) and q - k != {2 * number + 1})"
    judged = program(simplify(mask(text).body))
    assert lookahead(judged) == 0
    assert may_have_empty_row(judged) == (False, "")
    assert not is_exactly_causal(judged)


# --- scores and uses -----------------------------------------------------------------------


def score(text: str) -> Program:
    return Program("score", ("s", "q", "k", "b", "h"), parse_scalar(text, CAPTURES), CAPTURES)


def slot(capture: int, index: tuple[Value, ...]) -> Value:
    """A table in which every slot holds another number."""
    return 100 * capture + 10 * index[0] + index[1]


@pytest.mark.parametrize(
    ("text", "bias"),
    [
        ("s", "0"),
        ("s + table[k - q, h]", "0 + table[k - q, h]"),
        ("s - 2 * (q - k)", "0 - 2 * (q - k)"),
        ("if k < 4 then s else s - 1", "if k < 4 then 0 else -1"),
        ("2 - (1 - s)", "2 - (1 - 0)"),
    ],
)
def test_additive_scores(text: str, bias: str) -> None:
    found = additive_bias(score(text))
    assert found is not None
    for q in range(4):
        for k in range(4):
            values = {"q": q, "k": k, "h": 1, "b": 0}
            assert evaluate(found, values, slot) == evaluate(parse_scalar(bias, CAPTURES), values, slot)
            assert evaluate(found, values, slot) + 7 == evaluate(score(text).body, values | {"s": 7}, slot)


@pytest.mark.parametrize(
    "text", ["30 * tanh(s / 30)", "s + s", "2 * s", "s * q", "k - q", "-s", "if s > 0 then s else s"]
)
def test_other_scores_are_not_additive(text: str) -> None:
    assert additive_bias(score(text)) is None


def test_identities() -> None:
    assert is_identity(score("s + 0"))
    assert not is_identity(score("s + 1"))
    assert is_identity(mask("k <= q or k > q"))
    assert not is_identity(mask("k <= q"))
    assert is_identity(Program("fn", ("x",), parse_scalar("1 * x")))
    assert not is_identity(Program("fn", ("x", "y"), parse_scalar("x")))


def test_what_a_program_uses() -> None:
    used = mask("k <= q and doc[b, q] == doc[b, k]")
    assert variables_used(used) == {"q", "k", "b"}
    assert fields_used(used) == {"doc"}
    assert fields_used(mask("k <= q")) == frozenset()
    assert format_scalar(used.body, used.captures) == "k <= q and doc[b, q] == doc[b, k]"
