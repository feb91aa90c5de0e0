"""The text of scalar expressions: readable, and exactly invertible."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from tantra_dsl.scalars.format import format_scalar, parse_scalar
from tantra_dsl.scalars.ir import Capture, Const, Gather, Op, Scalar, Var
from tantra_dsl.scalars.walk import MAX_DEPTH, ScalarError, fold
from tests.scalars.programs import CAPTURES, numbers, truths

SPELLINGS = [
    "k <= q and q - k < 1024",
    "k <= q and (q - k < 512 or k % 64 == 0)",
    "0.5 * x * (1 + tanh(0.7978845608 * (x + 0.044715 * x ** 3)))",
    "a - (b - c)",
    "a - b - c",
    "-x ** 2",
    "(-x) ** 2",
    "(-3) ** 2",
    "-(3) + -3",
    "2 ** -x ** y",
    "(a < b) == (c < d)",
    "not (a < b and c < d)",
    "if a < b then x else if c < d then y else z",
    "1 + (if a < b then x else y)",
    "doc[b, q] == doc[b, k]",
    "s + table[min(k - q, 31), h]",
    "1e-05 * x",
]


def exact(expr: Scalar) -> object:
    """A value that tells 1 from 1.0 and from true, which ``==`` does not."""

    def visit(node: Scalar, parts: list[object]) -> object:
        if isinstance(node, Const):
            return (type(node.value).__name__, repr(node.value))
        return (getattr(node, "op", None), getattr(node, "name", None), getattr(node, "capture", None), tuple(parts))

    return fold(expr, visit)


@pytest.mark.parametrize("text", SPELLINGS)
def test_the_usual_spelling_is_kept(text: str) -> None:
    assert format_scalar(parse_scalar(text, CAPTURES), CAPTURES) == text


@settings(max_examples=250, deadline=None)
@given(truths())
def test_parse_inverts_format_for_truth_values(expr: Scalar) -> None:
    assert exact(parse_scalar(format_scalar(expr, CAPTURES), CAPTURES)) == exact(expr)


@settings(max_examples=250, deadline=None)
@given(numbers())
def test_parse_inverts_format_for_numbers(expr: Scalar) -> None:
    assert exact(parse_scalar(format_scalar(expr, CAPTURES), CAPTURES)) == exact(expr)


def test_captures_whose_names_do_not_tell_them_apart_are_numbered() -> None:
    twice = (Capture("doc"), Capture("doc"), Capture("layers.0.bias"))
    expr = Op("add", (Gather(1, (Var("q"),)), Gather(2, (Var("k"),))))
    text = format_scalar(expr, twice)
    assert text == "@1[q] + @2[k]"
    assert parse_scalar(text, twice) == expr


def test_operations_of_many_operands_keep_their_grouping() -> None:
    flat = Op("and", (Op("lt", (Var("a"), Var("b"))),) * 3)
    assert parse_scalar(format_scalar(flat)) == flat


@pytest.mark.parametrize(
    "text",
    ["", "a +", "a < b < c", "(a", "a)", "f(x)", "1 2", "doc[", "min(", "$", "if a then b", "not", "x[1]", "9" * 5000],
)
def test_mistakes_are_told_and_never_crash(text: str) -> None:
    with pytest.raises(ScalarError):
        parse_scalar(text)


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(ScalarError, match="nested"):
        parse_scalar("(" * 100_000 + "x" + ")" * 100_000)


def test_a_program_at_the_depth_limit_can_be_written_and_read() -> None:
    expr: Scalar = Var("x")
    for _ in range(MAX_DEPTH - 1):
        expr = Op("tanh", (expr,))
    assert parse_scalar(format_scalar(expr)) == expr
