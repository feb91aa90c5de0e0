"""Everything that needs no definition in the language."""

from __future__ import annotations

from tantra_dsl.graph.model import Init
from tantra_dsl.semantics.builders.table import PRIMITIVES
from tantra_dsl.semantics.mathematics import mathematical
from tantra_dsl.semantics.numbers import FUNCTIONS
from tantra_dsl.semantics.scope import Scope, Thunk
from tantra_dsl.semantics.starts import STARTS
from tantra_dsl.semantics.values import Function, Symbol

INPUT_KINDS = ("tokens", "labels", "ids", "per_token", "per_sequence", "class", "pixels", "features")
AXES = ("batch", "time", "depth", "heads", "head_dim", "slots", "last", "mean", "sum", "max", "softmax")


def bind_builtins(scope: Scope) -> None:
    """Bind everything that needs no definition in the language."""
    for primitive in (*PRIMITIVES, *STARTS, *(mathematical(name) for name in FUNCTIONS)):
        scope.bind_value(primitive.name, Function(primitive.name, primitive=primitive))
    for name, value in (("true", True), ("false", False), ("none", None), ("pi", 3.141592653589793)):
        scope.bind_value(name, value)
    for name, number in (("zeros", 0.0), ("ones", 1.0)):
        scope.bind_value(name, Init("constant", (number,)))
    scope.bind_value("identity", Init("identity"))
    for name in (*INPUT_KINDS, *AXES):
        scope.fallbacks.setdefault(name, Thunk.of(Symbol(name)))
