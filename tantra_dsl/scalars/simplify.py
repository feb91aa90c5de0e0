"""Simplification that keeps the meaning exactly, and the normal form in which programs are compared."""

from __future__ import annotations

from tantra_dsl.scalars import arithmetic
from tantra_dsl.scalars.arithmetic import ArithmeticFault
from tantra_dsl.scalars.format import format_scalar
from tantra_dsl.scalars.ir import Const, Op, Scalar
from tantra_dsl.scalars.types import LOGIC, brief, kind_of, spelling
from tantra_dsl.scalars.walk import ScalarError, check_bounds, depth_and_size, fold, integral, path_to, with_children

Folded = Scalar | ScalarError
"""A fault is carried up until something needs it: the branch of an `if` that is never taken may divide by zero."""

TRUE, FALSE = Const(True), Const(False)


def simplify(expr: Scalar) -> Scalar:
    """``expr`` with constants folded exactly, dead branches cut and neutral operands dropped.

    Raises ScalarError (reason, offending part, path) for what has no value: division by zero, a result that is
    infinite, not a number or beyond 64 bits, the logarithm of a negative number; and for expressions beyond the
    bounds of ``walk.MAX_DEPTH`` and ``walk.MAX_SIZE``.
    """
    check_bounds(expr)
    result = fold(expr, _simplify)
    if isinstance(result, ScalarError):
        raise ScalarError(result.reason, result.expr, path_to(expr, result.expr))
    return result


def _simplify(node: Scalar, parts: list[Folded]) -> Folded:
    if isinstance(node, Const):
        return _checked_constant(node)
    if isinstance(node, Op) and node.op in ("and", "or"):
        return _logic(node, parts)
    if isinstance(node, Op) and node.op == "where":
        return _where(node, parts)
    sound: list[Scalar] = []
    for part in parts:
        if isinstance(part, ScalarError):
            return part
        sound.append(part)
    return _operation(node, sound) if isinstance(node, Op) else with_children(node, sound)


def _checked_constant(node: Const) -> Folded:
    try:
        arithmetic.checked(node.value)
    except ArithmeticFault as fault:
        return ScalarError(str(fault).replace("the result", "the number"), node)
    return node


def _logic(node: Op, parts: list[Folded]) -> Folded:
    neutral = node.op == "and"
    kept: list[Scalar] = []
    for part in parts:
        if isinstance(part, ScalarError):
            return part
        if not isinstance(part, Const):
            kept.append(part)
        elif not isinstance(part.value, bool):
            return ScalarError(f"`{node.op}` needs truth values, but {brief(part)} is a number", node)
        elif part.value != neutral:
            if not kept:
                return part
            return Const(not neutral)
    if not kept:
        return Const(neutral)
    if len(kept) == 1:
        return kept[0]
    return with_children(node, kept) if len(kept) == len(parts) else Op(node.op, tuple(kept))


def _where(node: Op, parts: list[Folded]) -> Folded:
    condition, then, otherwise = parts
    if isinstance(condition, Const) and isinstance(condition.value, bool):
        return then if condition.value else otherwise
    sound = [part for part in parts if not isinstance(part, ScalarError)]
    if len(sound) < len(parts):
        return next(part for part in parts if isinstance(part, ScalarError))
    if isinstance(condition, Const):
        return ScalarError(f"`if` needs a truth value, but {brief(condition)} is a number", node)
    return with_children(node, sound)


def _operation(node: Op, parts: list[Scalar]) -> Folded:
    if all(isinstance(part, Const) for part in parts):
        return _constant(node, [part.value for part in parts if isinstance(part, Const)])
    if node.op in ("neg", "not"):
        inner = parts[0]
        if isinstance(inner, Op) and inner.op == node.op:
            return inner.args[0]
    return _without_neutral(node, parts) or with_children(node, parts)


def _constant(node: Op, values: list[int | float | bool]) -> Folded:
    if node.op == "not":
        if not isinstance(values[0], bool):
            return ScalarError(f"`not` needs truth values, but `{values[0]}` is a number", node)
        return Const(not values[0])
    if any(isinstance(value, bool) for value in values):
        return ScalarError(f"`{spelling(node.op)}` needs numbers, but got a truth value", node)
    try:
        return Const(arithmetic.apply(node.op, values))
    except ArithmeticFault as fault:
        return ScalarError(str(fault), node)


_RIGHT_NEUTRAL = {"add": 0, "sub": 0, "mul": 1, "div": 1, "pow": 1}


def _without_neutral(node: Op, parts: list[Scalar]) -> Scalar | None:
    if node.op in ("min", "max") and len(parts) == 1:
        return parts[0]
    if node.op not in _RIGHT_NEUTRAL or len(parts) != 2:
        return None
    neutral = _RIGHT_NEUTRAL[node.op]
    if _is_number(parts[1], neutral):
        return parts[0]
    return parts[1] if node.op in ("add", "mul") and _is_number(parts[0], neutral) else None


def _is_number(expr: Scalar, value: int) -> bool:
    return isinstance(expr, Const) and not isinstance(expr.value, bool) and expr.value == value


# --- normal form ---------------------------------------------------------------------------

_COMMUTE = frozenset({"add", "mul", "and", "or", "min", "max", "eq", "ne"})
_FLATTEN = frozenset({"add", "mul", "and", "or", "min", "max"})
_MIRROR = {"gt": "lt", "ge": "le"}
_NEGATED = {"lt": "ge", "le": "gt", "gt": "le", "ge": "lt", "eq": "ne", "ne": "eq"}
_LONGEST_PRODUCT = 8
_LARGEST_FACTOR = 16


def canonical(expr: Scalar) -> Scalar:
    """A normal form: programs that differ only in spelling have equal ones.

    Sums, products and logic are flattened, sorted, and their constants merged; ``a > b`` becomes ``b < a``; the negated
    comparison of whole numbers its opposite; a small whole power a product. Constants compare exactly. It may
    reassociate, so it is for comparing and not for running. Raises ScalarError as ``simplify`` does.
    """
    kind_of(expr)
    return fold(simplify(expr), _canonical)


def _canonical(node: Scalar, parts: list[Scalar]) -> Scalar:
    if isinstance(node, Const):
        return _canonical_constant(node)
    if not isinstance(node, Op):
        return with_children(node, parts)
    if node.op in _MIRROR:
        return Op(_MIRROR[node.op], (parts[1], parts[0]))  # type: ignore[arg-type]
    if node.op == "not":
        return _negated(parts[0])
    if node.op == "pow":
        return _power(parts)
    return Op(node.op, tuple(_merged(node.op, parts))) if node.op in _COMMUTE else with_children(node, parts)


def _canonical_constant(node: Const) -> Const:
    value = node.value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return Const(int(value))
    return node


def _negated(inner: Scalar) -> Scalar:
    if isinstance(inner, Op) and inner.op in _NEGATED and integral(inner.args[0]) and integral(inner.args[1]):
        return _canonical(Op(_NEGATED[inner.op], inner.args), list(inner.args))  # type: ignore[arg-type]
    if isinstance(inner, Op) and inner.op == "not":
        return inner.args[0]
    if isinstance(inner, Op) and inner.op in ("and", "or"):
        return _canonical(Op("or" if inner.op == "and" else "and", inner.args), [_negated(part) for part in inner.args])
    return Op("not", (inner,))


def _power(parts: list[Scalar]) -> Scalar:
    base, exponent = parts
    times = exponent.value if isinstance(exponent, Const) and isinstance(exponent.value, int) else 0
    if 2 <= times <= _LONGEST_PRODUCT and depth_and_size(base)[1] <= _LARGEST_FACTOR:
        return Op("mul", tuple(_merged("mul", [base] * times)))
    return Op("pow", (base, exponent))


def _merged(op: str, parts: list[Scalar]) -> list[Scalar]:
    flat: list[Scalar] = []
    for part in parts:
        flat.extend(part.args if op in _FLATTEN and isinstance(part, Op) and part.op == op else (part,))
    constants = [part for part in flat if isinstance(part, Const)] if op in _FLATTEN - LOGIC else []
    if len(constants) > 1:
        flat = [*(part for part in flat if not isinstance(part, Const)), *_total(op, constants)]
    return sorted(flat, key=_order)


def _total(op: str, constants: list[Const]) -> list[Scalar]:
    try:
        total = arithmetic.apply(op, [constant.value for constant in sorted(constants, key=lambda c: c.value)])
    except ArithmeticFault:
        return list(constants)
    return [_canonical_constant(Const(total))]


def _order(expr: Scalar) -> tuple[int, str]:
    return (not isinstance(expr, Const), format_scalar(expr))


__all__ = ["ScalarError", "canonical", "simplify"]
