"""What can be known of a program before it runs.

All answers about masks are sound: they hold for all lengths, heads and field values, and may only overestimate.
Whole numbers are exact; where fractions are compared, there is room for the rounding of a few operations.
"""

from __future__ import annotations

import math
from functools import lru_cache

from tantra_dsl.scalars.affine import Bound, Zone
from tantra_dsl.scalars.ir import Const, Op, Program, Scalar, Var
from tantra_dsl.scalars.reason import Reasoner, prepared
from tantra_dsl.scalars.simplify import canonical, simplify
from tantra_dsl.scalars.walk import ScalarError, captures_of, substitute, variables_of

_FURTHEST = 2**40
"""No sequence is longer."""

_PLACES_TRIED = 64


def lookahead(mask: Program | None) -> float:
    """The least known n such that an allowed key is at most n positions after its query.

    0 for a causal mask, -1 where a position does not see itself, inf where there is no limit, -inf for a mask that
    allows nothing. None is the mask that allows everything.
    """
    return math.inf if mask is None else _furthest(mask.body, 1)


def lookback(mask: Program | None) -> float:
    """The least known n such that an allowed key is at most n positions before its query.

    ``window(w)`` gives w - 1: a cache needs lookback + 1 keys, the query's own among them.
    """
    return math.inf if mask is None else _furthest(mask.body, -1)


@lru_cache(maxsize=1024)
def _furthest(body: Scalar, side: int) -> float:
    """Largest ``side * (k - q)`` that the predicate may allow."""
    reasoner, body = Reasoner(), prepared(body)
    zones = reasoner.refine(body, True, Zone())
    if not zones:
        return -math.inf
    limit = max(_reach(zone, side) for zone in zones)
    if limit >= _FURTHEST:
        limit = _search(reasoner, body, side)
    return _tightened(reasoner, body, side, limit)


def _reach(zone: Zone, side: int) -> Bound:
    low, high = zone["d"]
    return high if side > 0 else -low


def _possible(reasoner: Reasoner, body: Scalar, side: int, least: float, most: float = math.inf) -> bool:
    low, high = (least, most) if side > 0 else (-most, -least)
    zone = Zone().meet("d", low, high)
    return zone is not None and bool(reasoner.refine(body, True, zone))


def _search(reasoner: Reasoner, body: Scalar, side: int) -> float:
    """Largest distance that is possible, where no bound follows at once; inf where the furthest place still is."""
    if _possible(reasoner, body, side, _FURTHEST):
        return math.inf
    low, high = -_FURTHEST, _FURTHEST
    while high - low > 1:
        middle = (low + high) // 2
        if _possible(reasoner, body, side, middle):
            low = middle
        else:
            high = middle
    return low


def _tightened(reasoner: Reasoner, body: Scalar, side: int, limit: Bound) -> float:
    if isinstance(limit, float):
        return limit
    distance = math.floor(limit)
    if distance < -_FURTHEST:
        return -math.inf
    for _ in range(_PLACES_TRIED):
        if _possible(reasoner, body, side, distance, distance):
            break
        distance -= 1
    return distance


@lru_cache(maxsize=1024)
def is_exactly_causal(mask: Program | None) -> bool:
    """Whether the mask allows exactly ``k <= q``."""
    if mask is None:
        return False
    after, before = Zone({"d": (1, math.inf)}), Zone({"d": (-math.inf, 0)})
    reasoner, body = Reasoner(), prepared(mask.body)
    return not reasoner.refine(body, True, after) and not reasoner.refine(body, False, before)


def always(body: Scalar) -> bool:
    """Whether a predicate is known to hold everywhere."""
    return not Reasoner().refine(prepared(body), False, Zone())


# --- rows without a key ----------------------------------------------------------------------


def may_have_empty_row(mask: Program | None) -> tuple[bool, str]:
    """Whether some query may be left without a key, and why it is thought so (empty when it cannot be).

    Sound: False means that every row has a key, for all lengths and fields. True may be cautious; ``empty_row`` tells
    whether a row is empty for certain.
    """
    return (False, "") if mask is None else _may_have_empty_row(mask)


@lru_cache(maxsize=1024)
def _may_have_empty_row(mask: Program) -> tuple[bool, str]:
    if always(_some_key_is_allowed(mask.body)):
        return False, ""
    row = empty_row(mask)
    if row is not None:
        return True, f"the query at position {row} has no key"
    fields = sorted(mask.captures[number].name for number in captures_of(mask.body))
    if fields:
        return True, f"whether a query has a key depends on {', '.join(fields)}"
    return True, "no key is known to be allowed for every query"


def _some_key_is_allowed(body: Scalar) -> Scalar:
    """A condition on q under which row q has a key: its own place, the first, or the one before."""
    before = Op("max", (Op("sub", (Var("q"), Const(1))), Const(0)))
    tried = [_matched(substitute(body, {"k": key})) for key in (Var("q"), Const(0), before)]
    return Op("or", tuple(tried))


def _matched(body: Scalar) -> Scalar:
    """Simplified, and with equal readings of a field on both sides of ``==`` seen as equal."""
    try:
        return canonical(body)
    except ScalarError:
        return body


def empty_row(mask: Program | None) -> int | None:
    """Position of a query that has no key whatever fields hold, among the places where masks change; or None."""
    from tantra_dsl.scalars.count import allowed_keys, relaxed

    if mask is None:
        return None
    body, _ = relaxed(mask.body, frozenset({"b", "h"}))
    for row in _telling_rows(body):
        length = Const(row + 1)
        if not allowed_keys(substitute(body, {"queries": length, "keys": length}), row, row + 1):
            return row
    return None


def _telling_rows(body: Scalar) -> list[int]:
    """Small rows, and those beside the constants of the predicate."""
    constants: list[int] = []
    stack = [body]
    while stack:
        node = stack.pop()
        if isinstance(node, Const) and isinstance(node.value, int) and 0 < node.value < 4096:
            constants.append(node.value)
        stack.extend(node.args if isinstance(node, Op) else ())
    near = {row + offset for row in constants[:32] for offset in (-1, 0, 1)}
    return sorted({*range(6), *near})


# --- what a program uses ----------------------------------------------------------------------


def variables_used(program: Program) -> frozenset[str]:
    """Names of the variables that the program's value depends on."""
    return variables_of(program.body)


def fields_used(program: Program) -> frozenset[str]:
    """Names of the captures (batch fields and learned tables) that the program reads."""
    return frozenset(program.captures[number].name for number in captures_of(program.body))


def is_identity(program: Program) -> bool:
    """Whether the program changes nothing: a mask that always allows, a score or function that returns what it gets."""
    if program.kind == "mask":
        return always(program.body)
    target = "s" if program.kind == "score" else program.variables[0] if len(program.variables) == 1 else None
    try:
        return target is not None and canonical(program.body) == Var(target)
    except ScalarError:
        return False


def additive_bias(score: Program) -> Scalar | None:
    """The ``bias`` of a score that is ``s + bias`` with a bias free of s, or None for any other score."""
    found = _offset(score.body)
    if found is None or found[0] != 1:
        return None
    return simplify(found[1])


def _offset(expr: Scalar) -> tuple[int, Scalar] | None:
    """(f, rest) where ``expr`` is ``f * s + rest``, f is -1, 0 or 1, and rest is free of s."""
    if expr == Var("s"):
        return 1, Const(0)
    if "s" not in variables_of(expr):
        return 0, expr
    if not isinstance(expr, Op):
        return None
    if expr.op == "where" and "s" not in variables_of(expr.args[0]):
        return _offset_of_branches(expr)
    if expr.op not in ("add", "sub", "neg"):
        return None
    parts = [_offset(part) for part in expr.args]
    sound = [part for part in parts if part is not None]
    if len(sound) < len(parts):
        return None
    signs = [-1] if expr.op == "neg" else [1, -1 if expr.op == "sub" else 1, *[1] * len(parts)]
    factor = sum(sign * part[0] for sign, part in zip(signs, sound, strict=False))
    return (factor, Op(expr.op, tuple(part[1] for part in sound))) if abs(factor) <= 1 else None


def _offset_of_branches(expr: Op) -> tuple[int, Scalar] | None:
    then, otherwise = _offset(expr.args[1]), _offset(expr.args[2])
    if then is None or otherwise is None or then[0] != otherwise[0]:
        return None
    return then[0], Op("where", (expr.args[0], then[1], otherwise[1]))


__all__ = [
    "additive_bias",
    "always",
    "empty_row",
    "fields_used",
    "is_exactly_causal",
    "is_identity",
    "lookahead",
    "lookback",
    "may_have_empty_row",
    "variables_used",
]
