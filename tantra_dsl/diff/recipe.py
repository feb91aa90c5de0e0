"""Differences between two recipes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from tantra_dsl.diff.closed import number
from tantra_dsl.diff.operations import Concern, Operation
from tantra_dsl.semantics.recipe import DataSource, Recipe
from tantra_dsl.semantics.recipe_keys import BUNDLED, TRAIN, Choice, Key, Menu
from tantra_dsl.syntax.flat import flat
from tantra_dsl.syntax.literals import quote

NUMERICS: Final = frozenset({"precision", "compile"})
"""Keys of the recipe that change how numbers are computed, not what is computed or learned from."""


def operations(before: Recipe, after: Recipe) -> list[Operation]:
    """What turns the one recipe into the other, in the order of the language reference."""
    return [op for entry in TRAIN for op in _entry(entry, before, after)]


def _entry(entry: Key | Menu, before: Recipe, after: Recipe) -> Iterator[Operation]:
    old, new = getattr(before, entry.name), getattr(after, entry.name)
    if old == new:
        return
    if isinstance(entry, Menu) and _kind(old) == _kind(new) and not isinstance(old, DataSource):
        choice = _choice(entry, _kind(old))
        for key in choice.keys if choice else ():
            pair = _field(old, key), _field(new, key)
            if pair[0] != pair[1]:
                yield _operation(f"{entry.name}.{key.name}", entry.name, key.doc, pair, before, after)
        return
    yield _operation(entry.name, entry.name, entry.doc, (_told(entry, old), _told(entry, new)), before, after)


def value_at(recipe: Recipe, path: str) -> tuple[str, str, bool] | None:
    """The value at a path of the recipe, the key that sets it, and whether that was given; None for no such path."""
    name, _, inner = path.partition(".")
    entry = next((entry for entry in TRAIN if entry.name == name), None)
    if entry is None:
        return None
    value = getattr(recipe, name)
    given = name in recipe.spans
    if not inner:
        return _told(entry, value) or "none", name, given
    choice = _choice(entry, _kind(value)) if isinstance(entry, Menu) else None
    key = next((key for key in choice.keys if key.name == inner), None) if choice else None
    return None if key is None else (_field(value, key), name, given)


def _operation(
    path: str, key: str, doc: str, texts: tuple[str | None, str | None], before: Recipe, after: Recipe
) -> Operation:
    concern: Concern = "numerics" if key in NUMERICS else "recipe"
    kind: Any = "add" if texts[0] is None else "remove" if texts[1] is None else "set"
    spans = before.span(key), after.span(key)
    made = Operation(kind, f"train.{path}", *texts, concern, _said(doc), *spans)
    return replace(made, defaulted=(key not in before.spans, key not in after.spans))


def _said(doc: str) -> str:
    """A key's description inside a sentence."""
    first = doc.split()[0]
    return (doc if first.isupper() and len(first) > 1 else doc[0].lower() + doc[1:]).rstrip(".")


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else str(getattr(value, "kind", ""))


def _choice(menu: Menu, kind: str) -> Choice | None:
    return next((choice for choice in menu.choices if choice.name == kind), None)


def _field(value: Any, key: Key) -> str:
    found = getattr(value, key.name, None)
    return key.default if found is None else literal(found)


def _told(entry: Key | Menu, value: Any) -> str | None:
    """A value of a key as an author would write it; None for nothing."""
    if value is None:
        return None if entry.default == "none" else entry.default
    if isinstance(value, DataSource):
        return _data(value)
    if isinstance(entry, Menu) and not isinstance(value, str):
        return _called(entry, value)
    return value if isinstance(value, str) and isinstance(entry, Menu) else literal(value)


def _data(value: DataSource) -> str:
    if value.kind == "bundled" and value.value in BUNDLED:
        return value.value
    return f"pairs({quote(value.value)})" if value.kind == "pairs" else quote(value.value)


def _called(menu: Menu, value: Any) -> str:
    """A choice with those of its settings that are not as they would be anyway."""
    choice = _choice(menu, value.kind)
    plain = type(value)(kind=value.kind)
    keys = choice.keys if choice else ()
    told = [f"{key.name}: {_field(value, key)}" for key in keys if _differs(value, plain, key)]
    return f"{value.kind}({', '.join(told)})" if told else str(value.kind)


def _differs(value: Any, plain: Any, key: Key) -> bool:
    return bool(getattr(value, key.name, None) != getattr(plain, key.name, None))


def literal(value: Any) -> str:
    """A plain value as the language writes it."""
    if value is None or isinstance(value, bool):
        return "none" if value is None else str(value).lower()
    if isinstance(value, int | float):
        return flat(number(value))
    if isinstance(value, tuple):
        return f"[{', '.join(map(literal, value))}]"
    return quote(value) if isinstance(value, str) else str(value)


__all__ = ["NUMERICS", "literal", "operations"]
