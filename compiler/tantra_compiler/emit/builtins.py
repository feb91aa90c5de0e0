"""torch's own functions, told by the structure of a program and never by its name."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from tantra_dsl.scalars.ir import Const, Gather, Op, Scalar, Var
from tantra_dsl.scalars.simplify import canonical
from tantra_dsl.scalars.walk import ScalarError, depth_and_size, substitute

Found = tuple[str, Scalar, dict[str, str]]

_X: Final = Var("x")
_LARGEST = 60


def _op(op: str, *args: Scalar | float) -> Op:
    parts = tuple(Const(a) if isinstance(a, (int, float)) else a for a in args)
    return Op(op, parts)  # type: ignore[arg-type]


def _gelu_inner() -> Op:
    cubic = _op("add", _X, _op("mul", 0.044715, _op("pow", _X, 3)))
    return _op("mul", math.sqrt(2 / math.pi), cubic)


_TEMPLATES: Final[tuple[tuple[Scalar, str, dict[str, str]], ...]] = (
    (_op("mul", 0.5, _X, _op("add", 1, _op("erf", _op("div", _X, math.sqrt(2))))), "F.gelu", {}),
    (_op("mul", 0.5, _X, _op("add", 1, _op("erf", _op("mul", _X, math.sqrt(0.5))))), "F.gelu", {}),
    (_op("mul", _X, 0.5, _op("add", 1, _op("tanh", _gelu_inner()))), "F.gelu", {"approximate": '"tanh"'}),
    (_op("mul", _X, _op("sigmoid", _X)), "F.silu", {}),
    (_op("div", _X, _op("add", 1, _op("exp", _op("neg", _X)))), "F.silu", {}),
    (_op("max", _X, 0), "F.relu", {}),
    (_op("div", 1, _op("add", 1, _op("exp", _op("neg", _X)))), "torch.sigmoid", {}),
    (_op("log", _op("add", 1, _op("exp", _X))), "F.softplus", {}),
)  # fmt: skip


@lru_cache(maxsize=4096)
def match_builtin(scalar: Scalar) -> Found | None:
    """The torch function that ``scalar`` applies, its argument, and its keywords; None where it is none."""
    if not isinstance(scalar, Op) or depth_and_size(scalar)[1] > _LARGEST:
        return None
    form = _normal(scalar)
    if form is None:
        return None
    for argument in _arguments(scalar):
        for template, function, keywords in _TEMPLATES:
            if _alike(form, _normal(substitute(template, {"x": argument}))):
                return function, argument, keywords
    return None


def same_program(a: Scalar, b: Scalar) -> bool:
    """Whether two expressions compute the same, up to spelling and to what float32 cannot tell apart."""
    return _alike(_normal(a), _normal(b))


@lru_cache(maxsize=4096)
def _normal(scalar: Scalar) -> Scalar | None:
    try:
        return canonical(scalar)
    except ScalarError:
        return None


def _arguments(scalar: Op) -> Iterator[Scalar]:
    """Every part that could be the argument, each once, smallest last."""
    seen: dict[Scalar, None] = {}
    pending: list[Scalar] = list(scalar.args)
    while pending:
        part = pending.pop(0)
        if isinstance(part, Var | Op | Gather):
            seen.setdefault(part)
        pending.extend(part.args if isinstance(part, Op) else ())
    return iter(seen)


def _alike(a: Scalar | None, b: Scalar | None) -> bool:
    """Equality of normal forms, constants compared to what float32 can tell apart."""
    if isinstance(a, Const) and isinstance(b, Const):
        return _close(a.value, b.value)
    if isinstance(a, Op) and isinstance(b, Op):
        return a.op == b.op and _all_alike(a.args, b.args)
    if isinstance(a, Gather) and isinstance(b, Gather):
        return a.capture == b.capture and _all_alike(a.index, b.index)
    return a is not None and a == b


def _all_alike(a: tuple[Scalar, ...], b: tuple[Scalar, ...]) -> bool:
    return len(a) == len(b) and all(map(_alike, a, b))


def _close(a: float, b: float) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    return a == b or math.isclose(a, b, rel_tol=1e-8)
