"""Initialisations: how weights start."""

from __future__ import annotations

from typing import Any

from tantra_dsl.diagnostics.semantics import BadArithmetic, TooLarge
from tantra_dsl.graph.model import Init
from tantra_dsl.semantics.frame import Frame
from tantra_dsl.semantics.primitives import (
    REQUIRED,
    Application,
    Primitive,
)
from tantra_dsl.semantics.values import POISON, Function, Value, is_number
from tantra_dsl.syntax import tree

MAX_VALUES = 65_536
"""Numbers that one start may list."""


def _init(name: str, params: tuple[tuple[str, Any], ...], kind: str) -> Primitive:
    def build(a: Application) -> Value:
        return Init(kind, tuple(a.number(param) for param, _ in params))

    return Primitive(name, (), params, build)


def _std(a: Application) -> float:
    std = a.number("std")
    if std < 0:
        a.wrong("std", "a number from 0", a.value("std"))
    return std


def _normal(a: Application) -> Value:
    return Init("normal", (a.number("mean"), _std(a)))


def _truncated(a: Application) -> Value:
    return Init("truncated_normal", (a.number("mean"), _std(a), *_limits(a)))


def _uniform(a: Application) -> Value:
    return Init("uniform", _limits(a))


def _limits(a: Application) -> tuple[float, float]:
    low, high = a.number("low"), a.number("high")
    if low > high:
        a.wrong("high", f"a number from {low:g}", a.value("high"))
    return low, high


def _listed(a: Application) -> Value:
    values = a.value("list")
    if not isinstance(values, tuple) or not all(is_number(v) for v in values):
        a.wrong("list", "a list of numbers", values)
        return POISON
    return Init("values", tuple(float(v) for v in values))


def _each(a: Application) -> Value:
    """``each(log(j + 1), 24)``: the values of an expression in ``j`` for j = 0, 1, ..."""
    from tantra_dsl.scalars.evaluate import evaluate as value_of

    program, _ = a.program("value", "frequency")
    count = a.whole("count")
    if program is None:
        return POISON
    if count > MAX_VALUES:
        what = f"`each` makes {count:,} values"
        return a.frame.session.report(TooLarge(span=a.frame.user_span(a.span), what=what, limit=f"{MAX_VALUES:,}"))
    try:
        return Init("values", tuple(float(value_of(program.body, {"j": j})) for j in range(count)))
    except (ArithmeticError, ValueError) as error:
        return a.frame.session.report(BadArithmetic(span=a.frame.user_span(a.span), reason=str(error)))


STARTS = (
    Primitive("each", (), (("value", REQUIRED), ("count", REQUIRED)), _each),
    Primitive("normal", (), (("std", REQUIRED), ("mean", 0.0)), _normal),
    Primitive("truncated_normal", (), (("std", REQUIRED), ("mean", 0.0), ("low", -2.0), ("high", 2.0)), _truncated),
    Primitive("uniform", (), (("low", REQUIRED), ("high", REQUIRED)), _uniform),
    _init("constant", (("value", REQUIRED),), "constant"),
    _init("xavier_uniform", (("gain", 1.0),), "xavier_uniform"),
    _init("xavier_normal", (("gain", 1.0),), "xavier_normal"),
    _init("kaiming_uniform", (("a", 5**0.5),), "kaiming_uniform"),
    Primitive("values", (), (("list", REQUIRED),), _listed),
)


def as_init(value: Value, frame: Frame) -> Init | None:
    """An initialisation from a value: itself, a constant, or one named without settings (``xavier_uniform``)."""
    if is_number(value):
        return Init("constant", (float(value),))
    if isinstance(value, Function) and value.primitive in STARTS and value.primitive is not None:
        needs = any(default is REQUIRED for _, default in value.primitive.params)
        value = None if needs else value.primitive.build(Application(value.primitive, frame, tree.Name(value.name), ""))
    return value if isinstance(value, Init) else None
