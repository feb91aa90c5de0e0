"""Random scalar programs for the property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from tantra_dsl.scalars.format import parse_scalar
from tantra_dsl.scalars.ir import Capture, Const, Gather, Op, Program, Scalar, Var

CAPTURES = (Capture("doc", integer=True), Capture("table", learned=True))
_UNARY = ["neg", "abs", "exp", "log", "log2", "sqrt", "tanh", "sigmoid", "softplus", "erf", "sin", "cos", "floor"]
_BINARY = ["add", "sub", "mul", "div", "floordiv", "mod", "pow"]
_COMPARE = ["lt", "le", "gt", "ge", "eq", "ne"]
INTEGER_OPS = ["add", "sub", "mul", "min", "max", "floordiv", "mod"]


def mask(text: str) -> Program:
    """A mask program from its text; it may read ``doc`` and ``table``."""
    return Program("mask", ("q", "k", "b", "h"), parse_scalar(text, CAPTURES), CAPTURES, text)


def op(name: str, *args: Scalar) -> Op:
    return Op(name, args)  # type: ignore[arg-type]


def constants() -> st.SearchStrategy[Scalar]:
    finite = st.floats(allow_nan=False, allow_infinity=False)
    return st.builds(Const, st.one_of(st.integers(-20, 20), st.integers(-(2**63), 2**63 - 1), finite))


def _combine(numbers: st.SearchStrategy[Scalar], truths: st.SearchStrategy[Scalar]) -> st.SearchStrategy[Scalar]:
    return st.one_of(
        st.builds(op, st.sampled_from(_UNARY), numbers),
        st.builds(op, st.sampled_from(_BINARY), numbers, numbers),
        st.lists(numbers, min_size=1, max_size=3).flatmap(
            lambda parts: st.sampled_from([op("min", *parts), op("max", *parts)])
        ),
        st.builds(op, st.just("where"), truths, numbers, numbers),
        st.builds(lambda a: Gather(0, (Var("b"), a)), numbers),
    )


def numbers(variables: tuple[str, ...] = ("q", "k", "h", "b"), depth: int = 3) -> st.SearchStrategy[Scalar]:
    """Numeric expressions of every operation."""
    leaf = st.one_of(constants(), st.sampled_from([Var(name) for name in variables]))
    if depth == 0:
        return leaf
    return st.one_of(leaf, _combine(numbers(variables, depth - 1), truths(variables, depth - 1)))


def truths(variables: tuple[str, ...] = ("q", "k", "h", "b"), depth: int = 3) -> st.SearchStrategy[Scalar]:
    """Truth-valued expressions of every operation."""
    part = numbers(variables, max(depth - 1, 0))
    comparison = st.builds(op, st.sampled_from(_COMPARE), part, part)
    if depth == 0:
        return st.one_of(comparison, st.sampled_from([Const(True), Const(False)]))
    inner = truths(variables, depth - 1)
    return st.one_of(
        comparison,
        st.builds(op, st.sampled_from(["and", "or"]), inner, inner),
        st.builds(op, st.just("not"), inner),
        st.builds(op, st.just("where"), inner, inner, inner),
    )


# --- predicates over positions, as masks are ------------------------------------------------


def position_terms(depth: int = 2) -> st.SearchStrategy[Scalar]:
    """Whole-number terms over q and k with small constants; divisors are positive."""
    variable = st.sampled_from([Var("q"), Var("k"), op("sub", Var("q"), Var("k"))])
    leaf = st.one_of(variable, st.builds(Const, st.integers(-3, 6)))
    if depth == 0:
        return leaf
    inner = position_terms(depth - 1)
    divisor = st.builds(Const, st.integers(1, 4))
    return st.one_of(
        leaf,
        st.builds(op, st.sampled_from(["add", "sub", "min", "max", "mul"]), inner, inner),
        st.builds(op, st.sampled_from(["floordiv", "mod"]), inner, divisor),
        st.builds(op, st.sampled_from(["abs", "neg"]), inner),
        st.builds(op, st.just("where"), _atom(st.just(Var("q")), st.just(Var("k"))), inner, inner),
    )


def _atom(left: st.SearchStrategy[Scalar], right: st.SearchStrategy[Scalar]) -> st.SearchStrategy[Scalar]:
    return st.builds(op, st.sampled_from(_COMPARE), left, right)


def fields() -> st.SearchStrategy[Scalar]:
    """Comparisons of a batch field at the two positions."""
    at_q, at_k = Gather(0, (Var("b"), Var("q"))), Gather(0, (Var("b"), Var("k")))
    pairs = [op("eq", at_q, at_k), op("ne", at_q, at_k)]
    return st.sampled_from([*pairs, op("lt", at_k, Const(1)), op("eq", at_q, Const(0))])


def predicates(depth: int = 3, with_fields: bool = False) -> st.SearchStrategy[Scalar]:
    """Mask bodies over q and k, and with ``with_fields`` over a field ``doc``."""
    place = st.sampled_from([Var("k"), op("sub", Var("q"), Var("k"))])
    usual = _atom(place, st.one_of(st.just(Var("q")), st.builds(Const, st.integers(-2, 4))))
    atom = st.one_of(usual, _atom(position_terms(), position_terms()), *([fields()] if with_fields else []))
    if depth == 0:
        return atom
    inner = predicates(depth - 1, with_fields)
    return st.one_of(
        atom,
        st.builds(op, st.sampled_from(["and", "or"]), inner, inner),
        st.builds(op, st.just("not"), inner),
        st.builds(op, st.just("where"), inner, inner, inner),
    )
