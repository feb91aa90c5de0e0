"""Names and when their meanings are worked out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tantra_dsl.syntax import tree
from tantra_dsl.syntax.source import NOWHERE, Span

if TYPE_CHECKING:
    from tantra_dsl.semantics.frame import Frame

_UNSET = object()


class Thunk:
    """An expression with the place to evaluate it in; evaluated at most once, and remembers whether it was asked for.

    That it was never asked for is how a key without effect is found.
    """

    whole = False
    """Whether the value must be taken as it is, not resolved piece by piece inside a program."""

    __slots__ = ("_evaluating", "_value", "check", "expr", "frame", "on_read", "read", "scope")

    def __init__(self, expr: tree.Expr | None, scope: Scope | None, frame: Frame | None) -> None:
        self.expr = expr
        self.scope = scope
        self.frame = frame
        self.read = False
        self.check: Callable[[Any], Any] | None = None
        self.on_read: Callable[[], None] | None = None
        self._value: Any = _UNSET
        self._evaluating = False

    @staticmethod
    def of(value: Any, span: Span = NOWHERE) -> Thunk:
        """A thunk that holds a value already."""
        thunk = Thunk(None, None, None)
        thunk._value = value
        return thunk

    @property
    def span(self) -> Span:
        """Where the expression is written."""
        return NOWHERE if self.expr is None else self.expr.span

    def touch(self) -> None:
        """Note that the value matters to the model."""
        self.read = True
        if self.on_read is not None:
            self.on_read()

    @property
    def known(self) -> bool:
        """Whether the value has been worked out."""
        return self._value is not _UNSET

    def peek(self) -> Any:
        """The value, where it is known, without counting as a use."""
        return self._value

    def value(self, evaluate: Callable[[tree.Expr, Scope, Frame], Any], cycle: Callable[[], Any]) -> Any:
        """The value; ``cycle`` is called where the expression needs itself."""
        self.touch()
        if self._value is _UNSET:
            if self._evaluating:
                return cycle()
            assert self.expr is not None and self.scope is not None and self.frame is not None
            self._evaluating = True
            try:
                value = evaluate(self.expr, self.scope, self.frame)
                self._value = value if self.check is None else self.check(value)
            finally:
                self._evaluating = False
        return self._value


class Scope:
    """Names bound at one level, and the level around it."""

    __slots__ = ("fallbacks", "names", "owner", "parent")

    def __init__(self, parent: Scope | None = None, owner: str = "") -> None:
        self.parent = parent
        self.owner = owner
        self.names: dict[str, Thunk] = {}
        self.fallbacks: dict[str, Thunk] = {}

    def bind(self, name: str, thunk: Thunk) -> None:
        """Give ``name`` a meaning here."""
        self.names[name] = thunk

    def bind_value(self, name: str, value: Any) -> None:
        """Give ``name`` a value that is known."""
        self.names[name] = Thunk.of(value)

    def find(self, name: str) -> Thunk | None:
        """The thunk bound to ``name`` here or further out; words that only mean themselves come last."""
        for scope in self.chain():
            if name in scope.names:
                return scope.names[name]
        for scope in self.chain():
            if name in scope.fallbacks:
                return scope.fallbacks[name]
        return None

    def chain(self) -> Iterator[Scope]:
        """This scope and those around it."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent

    def visible(self) -> set[str]:
        """Every name that can be used here."""
        return {name for scope in self.chain() for name in (*scope.names, *scope.fallbacks)}
