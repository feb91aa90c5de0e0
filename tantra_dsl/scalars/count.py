"""How many query-key pairs a mask allows, in closed form where its shape permits, else by rows of bits."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, reduce
from operator import and_, or_
from typing import Literal

from tantra_dsl.scalars.affine import Zone
from tantra_dsl.scalars.evaluate import evaluate
from tantra_dsl.scalars.ir import Const, Gather, Op, Program, Scalar, ScalarOp, Var
from tantra_dsl.scalars.reason import Reasoner, prepared
from tantra_dsl.scalars.simplify import simplify
from tantra_dsl.scalars.walk import ScalarError, captures_of, depth_and_size, substitute, variables_of

_BUDGET = 0.3
"""Estimated seconds that a count may take."""
_MOST_HEADS = 256


@dataclass(frozen=True, slots=True)
class Count:
    """A number of pairs: ``exact``, an ``upper`` bound (it depends on fields of the batch), or ``unknown`` (None)."""

    value: int | None
    bound: Literal["exact", "upper", "unknown"]


def allowed_pairs(mask: Program | None, queries: int, keys: int, *, heads: int = 1) -> Count:
    """Pairs (query, key) that the mask allows, summed over ``heads`` heads.

    The queries are the last ``queries`` of the ``keys`` positions; ``queries <= keys`` unless the mask is None.
    """
    if mask is None:
        return Count(queries * keys * heads, "exact")
    if queries > keys:
        raise ValueError(f"the {queries} queries must be the last of the {keys} positions")
    body, exact = relaxed(mask.body, frozenset({"b"}) if heads <= _MOST_HEADS else frozenset({"b", "h"}))
    body = substitute(body, {"queries": Const(queries), "keys": Const(keys)})
    value = _count_heads(body, queries, keys, heads)
    if value is None:
        return Count(None, "unknown")
    return Count(value, "exact" if exact else "upper")


def _count_heads(body: Scalar, queries: int, keys: int, heads: int) -> int | None:
    if "h" not in variables_of(body):
        one = _count(body, queries, keys, _BUDGET)
        return None if one is None else one * heads
    counts = [_count(substitute(body, {"h": Const(h)}), queries, keys, _BUDGET / heads) for h in range(heads)]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _count(body: Scalar, queries: int, keys: int, seconds: float) -> int | None:
    zones = exact_zones(body)
    if zones is not None:
        return sum(_places(zone, queries, keys) for zone in zones)
    return _count_by_rows(body, queries, keys, seconds)


# --- unknown values ---------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def relaxed(body: Scalar, unknown: frozenset[str] = frozenset({"b"})) -> tuple[Scalar, bool]:
    """A predicate without captures and ``unknown`` variables that allows whatever ``body`` may allow.

    The second result tells whether nothing had to be given up.
    """
    loose = _relax(body, True, unknown)
    try:
        return simplify(loose), loose == body
    except ScalarError:
        return loose, loose == body


def _relax(expr: Scalar, upwards: bool, unknown: frozenset[str]) -> Scalar:
    if not captures_of(expr) and not variables_of(expr) & unknown:
        return expr
    if not isinstance(expr, Op) or expr.op not in ("and", "or", "not", "where"):
        return Const(upwards)
    if expr.op == "not":
        return Op("not", (_relax(expr.args[0], not upwards, unknown),))
    if expr.op == "where":
        condition, then, otherwise = expr.args
        taken = Op("and", (condition, then)), Op("and", (Op("not", (condition,)), otherwise))
        return Op("or", tuple(_relax(part, upwards, unknown) for part in taken))
    return Op(expr.op, tuple(_relax(part, upwards, unknown) for part in expr.args))


# --- closed form ------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def exact_zones(body: Scalar) -> tuple[Zone, ...] | None:
    """Disjoint zones that hold exactly the places where ``body`` is true, or None where no few zones do."""
    reasoner = Reasoner(budget=2_000)
    zones = reasoner.refine(prepared(body), True, Zone())
    return tuple(zones) if reasoner.exact and reasoner.budget > 0 else None


def _places(zone: Zone, queries: int, keys: int) -> int:
    """Pairs of a zone within the given lengths: a piecewise linear function of the row, summed piece by piece."""
    q_low, q_high = max(zone["q"][0], keys - queries), min(zone["q"][1], keys - 1)
    k_low, k_high = int(max(zone["k"][0], 0)), int(min(zone["k"][1], keys - 1))
    d_low, d_high = int(max(zone["d"][0], -keys)), int(min(zone["d"][1], keys))
    if q_low > q_high or k_low > k_high:
        return 0

    def in_row(q: int) -> int:
        return max(0, min(k_high, q + d_high) - max(k_low, q + d_low) + 1)

    bends = {k_low - d_low, k_low - d_high, k_high - d_low, k_high - d_high}
    first, last = int(q_low), int(q_high)
    starts = sorted({first, *(b + i for b in bends for i in (0, 1) if first < b + i <= last)})
    total = 0
    for start, following in zip(starts, [*starts[1:], last + 1], strict=True):
        total += (in_row(start) + in_row(following - 1)) * (following - start) // 2
    return total


# --- rows of bits -----------------------------------------------------------------------------

Row = Callable[[int], int]
_FLIP: dict[str, ScalarOp] = {"gt": "lt", "ge": "le"}


def allowed_keys(body: Scalar, query: int, keys: int) -> int:
    """Bit k is set where ``body``, free of captures and of b and h, allows key k for the query at this position."""
    return _Rows(keys).row(body)(query)


def allowed_rows(body: Scalar, keys: int) -> Row:
    """``allowed_keys`` as a function of the query, for asking about many."""
    return _Rows(keys).row(body)


def _count_by_rows(body: Scalar, queries: int, keys: int, seconds: float) -> int | None:
    rows = _Rows(keys)
    if rows.cost(body, queries) > seconds:
        return None
    row = rows.row(body)
    return sum(row(query).bit_count() for query in range(keys - queries, keys))


class _Rows:
    """Turns predicates into functions from a query to the bits of its allowed keys."""

    def __init__(self, keys: int) -> None:
        self.keys = keys
        self.full = (1 << keys) - 1

    def cost(self, expr: Scalar, queries: int) -> float:
        """Estimated seconds for all rows."""
        one_pass = queries * (3e-7 + self.keys / 64 * 4e-10)
        if isinstance(expr, Op) and expr.op in ("and", "or", "not"):
            return one_pass + sum(self.cost(part, queries) for part in expr.args)
        if isinstance(expr, Op) and expr.op == "where" and len(expr.args) == 3:
            return 3 * one_pass + sum(self.cost(part, queries) for part in expr.args)
        each = 4e-7 * depth_and_size(expr)[1]
        used = variables_of(expr)
        if "k" not in used:
            return queries * each
        if "q" not in used or _of_difference(expr) is not None:
            return one_pass + 2 * self.keys * each
        if _separated(expr):
            return one_pass + (self.keys + queries) * each + self.keys * (1e-7 + self.keys / 64 * 4e-10)
        return queries * self.keys * each

    def row(self, expr: Scalar) -> Row:
        """The bits of ``expr`` by query."""
        if isinstance(expr, Op) and expr.op in ("and", "or", "not", "where"):
            return self._logic(expr)
        used = variables_of(expr)
        if "k" not in used:
            return lambda q: self.full if evaluate(expr, {"q": q}) else 0
        if "q" not in used:
            bits = self._bits(expr, [{"k": k} for k in range(self.keys)])
            return lambda q: bits
        by_difference = _of_difference(expr)
        if by_difference is not None:
            return self._shifted(by_difference)
        if _separated(expr):
            return self._by_threshold(expr)
        return lambda q: self._bits(expr, [{"q": q, "k": k} for k in range(self.keys)])

    def _bits(self, expr: Scalar, places: list[dict[str, int]]) -> int:
        return int("0" + "".join("1" if evaluate(expr, place) else "0" for place in reversed(places)), 2)

    def _shifted(self, expr: Scalar) -> Row:
        """All rows are windows of one row over d = k - q."""
        all_differences = self._bits(expr, [{"d": d} for d in range(1 - self.keys, self.keys)])
        return lambda q: all_differences >> (self.keys - 1 - q) & self.full

    def _logic(self, expr: Op) -> Row:
        rows = [self.row(part) for part in expr.args]
        if expr.op == "not":
            return lambda q: self.full & ~rows[0](q)
        if expr.op == "where":
            condition, then, otherwise = rows
            return lambda q: condition(q) & then(q) | self.full & ~condition(q) & otherwise(q)
        if expr.op == "and":
            return lambda q: reduce(and_, (row(q) for row in rows))
        return lambda q: reduce(or_, (row(q) for row in rows))

    def _by_threshold(self, expr: Scalar) -> Row:
        """``f(k) < g(q)``: the keys sorted by f, so that a row is a prefix of them; nan is only unequal."""
        assert isinstance(expr, Op)
        (left, right), op = expr.args, expr.op
        if op in _FLIP:
            left, right, op = right, left, _FLIP[op]
        key_side, query_side = (left, right) if "k" in variables_of(left) else (right, left)
        pairs = [(evaluate(key_side, {"k": k}), k) for k in range(self.keys)]
        ordered = sorted(pair for pair in pairs if pair[0] == pair[0])
        prefixes = [0]
        for _, k in ordered:
            prefixes.append(prefixes[-1] | 1 << k)
        numbers = [number for number, _ in ordered]

        def row(q: int) -> int:
            number = evaluate(query_side, {"q": q})
            if number != number:
                return self.full if op == "ne" else 0
            below, upto = prefixes[bisect_left(numbers, number)], prefixes[bisect_right(numbers, number)]
            if op == "ne":
                return self.full ^ upto ^ below
            return _threshold_bits(op, key_side is left, below, upto, prefixes[-1])

        return row


def _threshold_bits(op: str, key_on_left: bool, below: int, upto: int, ordered: int) -> int:
    """Bits of the keys that compare so, given those strictly below the threshold, those up to it, and all."""
    if op == "eq":
        return upto ^ below
    if key_on_left:
        return below if op == "lt" else upto
    return ordered ^ upto if op == "lt" else ordered ^ below


def _separated(expr: Scalar) -> bool:
    """Whether ``expr`` compares something of k alone with something of q alone."""
    if not isinstance(expr, Op) or len(expr.args) != 2:
        return False
    left, right = (variables_of(part) & {"q", "k"} for part in expr.args)
    return len(left) <= 1 and len(right) <= 1 and left != right


@lru_cache(maxsize=1024)
def _of_difference(expr: Scalar) -> Scalar | None:
    """``expr`` with d for k - q, where it depends on nothing else; None otherwise."""
    return _differences(expr)


def _differences(expr: Scalar) -> Scalar | None:
    if not variables_of(expr) & {"q", "k"}:
        return expr
    linear = _linear(expr)
    if linear is not None and linear[0] == -linear[1]:
        return Op("add", (Op("mul", (Const(linear[1]), Var("d"))), Const(linear[2])))
    if not isinstance(expr, Op):
        return None
    if expr.op in ("lt", "le", "gt", "ge", "eq", "ne"):
        return _compared_difference(expr)
    return _mapped(expr)


def _compared_difference(expr: Op) -> Scalar | None:
    linear = _linear(Op("sub", expr.args))
    if linear is not None and linear[0] == -linear[1]:
        return Op(expr.op, (Op("mul", (Const(linear[1]), Var("d"))), Const(-linear[2])))
    return _mapped(expr)


def _mapped(expr: Op) -> Scalar | None:
    parts = [_differences(part) for part in expr.args]
    sound = [part for part in parts if part is not None]
    return Op(expr.op, tuple(sound)) if len(sound) == len(parts) else None


def _linear(expr: Scalar) -> tuple[int, int, int] | None:
    """(a, b, c) where ``expr`` is ``a * q + b * k + c`` in whole numbers."""
    if isinstance(expr, Const):
        return (0, 0, expr.value) if isinstance(expr.value, int) and not isinstance(expr.value, bool) else None
    if isinstance(expr, Var):
        return {"q": (1, 0, 0), "k": (0, 1, 0)}.get(expr.name)
    if isinstance(expr, Gather) or expr.op not in ("add", "sub", "neg", "mul") or len(expr.args) > 2:
        return None
    parts = [_linear(part) for part in expr.args]
    a, b = parts[0], parts[-1]
    if a is None or b is None:
        return None
    if expr.op == "neg":
        return -a[0], -a[1], -a[2]
    if expr.op == "mul":
        factor, form = (a[2], b) if a[:2] == (0, 0) else (b[2], a)
        return None if a[:2] != (0, 0) != b[:2] else (factor * form[0], factor * form[1], factor * form[2])
    sign = 1 if expr.op == "add" else -1
    return a[0] + sign * b[0], a[1] + sign * b[1], a[2] + sign * b[2]


__all__ = ["Count", "allowed_keys", "allowed_pairs", "allowed_rows", "exact_zones", "relaxed"]
