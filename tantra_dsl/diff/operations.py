"""The operations that a diff lists."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from tantra_dsl.syntax import tree
from tantra_dsl.syntax.source import NOWHERE, Span

Kind = Literal["set", "add", "remove", "replace", "repeat", "share", "rename", "move"]
Concern = Literal["function", "numerics", "names", "recipe"]

CONCERNS: dict[Concern, str] = {
    "function": "different function",
    "numerics": "same function, different numerics",
    "names": "same function, weights under other names",
    "recipe": "recipe only",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One change: what is done at ``path``, from ``old`` to ``new`` as an author would write them.

    ``old`` is None for what is added, ``new`` for what is removed. ``before`` and ``after`` are the places in the two
    specs; ``defaulted`` tells which side did not write the value but has it by default. ``why`` says what the change
    means for the function. A path that begins with a definition's name is ``absolute``. ``value`` is the new value as
    an expression that reads the same in the old model, ``wider`` the settings around it with theirs, outermost last.
    ``general`` is old, new and value in terms of the layer's number `i`, where the setting is written so.
    """

    kind: Kind
    path: str
    old: str | None
    new: str | None
    concern: Concern = "function"
    why: str = ""
    before: Span = NOWHERE
    after: Span = NOWHERE
    defaulted: tuple[bool, bool] = (False, False)
    absolute: bool = False
    value: tree.Expr | None = field(default=None, compare=False, repr=False)
    wider: tuple[tuple[str, tree.Expr], ...] = field(default=(), compare=False, repr=False)
    general: tuple[str, str, tree.Expr] | None = field(default=None, compare=False, repr=False)

    def under(self, prefix: str) -> Operation:
        """This operation in a part at ``prefix``."""
        if self.absolute or not prefix:
            return self
        wider = tuple((_joined(prefix, path), value) for path, value in self.wider)
        return replace(self, path=_joined(prefix, self.path), wider=wider)


def operation(
    kind: Kind,
    path: str,
    texts: tuple[str | None, str | None],
    why: str,
    spans: tuple[Span, Span],
    *,
    concern: Concern = "function",
    value: tree.Expr | None = None,
) -> Operation:
    """An operation from pairs: old and new text, places before and after."""
    return Operation(kind, path, texts[0], texts[1], concern, why, spans[0], spans[1], value=value)


def kind_of(old: object, new: object) -> Kind:
    """``add`` where there was nothing, ``remove`` where there is nothing any more, else ``set``."""
    return "add" if old is None else "remove" if new is None else "set"


def _joined(prefix: str, path: str) -> str:
    return f"{prefix}.{path}" if path else prefix


def place(span: Span) -> str | None:
    """``file:line``; None for what is written nowhere."""
    if span == NOWHERE or not span.source.text:
        return None
    return f"{span.source.name}:{span.source.line_column(span.start)[0]}"
