"""From the evaluated settings of ``train`` to a ``Recipe``, every mistake reported once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from tantra_dsl.diagnostics.core import Sink
from tantra_dsl.diagnostics.recipe import (
    MissingArgument,
    RecipeKeyWithoutEffect,
    RecipeOutOfRange,
    TooManyArguments,
    UnknownChoice,
    UnknownRecipeKey,
    WrongRecipeType,
)
from tantra_dsl.semantics.recipe import (
    DataSource,
    OptimizerChoice,
    Recipe,
    ScheduleChoice,
    Setting,
    TokenizerChoice,
    Value,
    Word,
)
from tantra_dsl.semantics.recipe_keys import BUNDLED, TRAIN, Choice, Key, Menu
from tantra_dsl.semantics.recipe_kinds import OutsideRange, WrongKind, describe, is_none, shorten
from tantra_dsl.syntax.source import Span

_ENTRIES: Mapping[str, Key | Menu] = {entry.name: entry for entry in TRAIN}
_MAKE: Mapping[str, Any] = {"optimizer": OptimizerChoice, "schedule": ScheduleChoice, "tokenizer": TokenizerChoice}
_MISSING = object()


@dataclass(frozen=True)
class _Picked:
    """A choice with the values of its keys."""

    choice: str
    values: Mapping[str, object]


def resolve(settings: Sequence[Setting], sink: Sink) -> Recipe:
    """See ``recipe.resolve_recipe``."""
    merged = _merge(settings, sink)
    fields: dict[str, Any] = {}
    for name, setting in merged.items():
        value = _read_entry(_ENTRIES[name], setting, sink)
        if value is not _MISSING:
            fields[name] = _field(name, value)
    recipe = replace(Recipe(), **fields, spans={name: setting.span for name, setting in merged.items()})
    for problem in _contradictions(recipe):
        sink.add(problem)
    return recipe


def _merge(settings: Sequence[Setting], sink: Sink) -> dict[str, Setting]:
    """One setting per known key, with the overrides of its inner keys folded in."""
    merged: dict[str, Setting] = {}
    for setting in settings:
        name, _, inner = setting.path.removeprefix("train.").partition(".")
        if name not in _ENTRIES:
            sink.add(_unknown(name, setting.span))
        elif not inner:
            merged[name] = setting
        else:
            _fold(_ENTRIES[name], inner, setting, merged, sink)
    return merged


def _unknown(name: str, span: Span) -> UnknownRecipeKey:
    return UnknownRecipeKey(span=span, key=name, owner="'train'", known=tuple(_ENTRIES), belongs=_home(name))


def _home(name: str) -> str:
    """The menu whose choices have a key called ``name``."""
    for entry in TRAIN:
        if isinstance(entry, Menu) and any(key.name == name for choice in entry.choices for key in choice.keys):
            return entry.name
    return ""


def _fold(entry: Key | Menu, inner: str, setting: Setting, merged: dict[str, Setting], sink: Sink) -> None:
    """Sets key ``inner`` of the choice that ``entry`` holds so far."""
    if isinstance(entry, Key):
        sink.add(UnknownRecipeKey(span=setting.span, key=inner, owner=f"'{entry.name}'", known=()))
        return
    before = merged.get(entry.name)
    word = before.value if before is not None else Word(entry.default)
    if not isinstance(word, Word):
        word = Word(entry.default)
    choice = _choice(entry, word.name)
    named = _without_positional(choice, word) if choice else word.named
    kept = tuple(pair for pair in named if pair[0] != inner)
    changed = Word(word.name, (), (*kept, (inner, setting.value)), setting.span)
    merged[entry.name] = Setting(entry.name, changed, setting.span)


def _without_positional(choice: Choice, word: Word) -> tuple[tuple[str, Value], ...]:
    return (*zip(choice.positional, word.positional, strict=False), *word.named)


def _choice(menu: Menu, name: str) -> Choice | None:
    return next((choice for choice in menu.choices if choice.name == name), None)


def _read_entry(entry: Key | Menu, setting: Setting, sink: Sink) -> object:
    """The value of a key, or ``_MISSING`` after reporting why there is none."""
    if isinstance(entry, Key):
        return _read_key(entry, entry.name, setting.value, setting.span, sink)
    if entry.name == "data" and isinstance(setting.value, str):
        return DataSource("path", setting.value)
    if not isinstance(setting.value, Word) or is_none(setting.value):
        expected = f"the name of one of {', '.join(choice.name for choice in entry.choices)}"
        expected += ", or a path in quotes" if entry.name == "data" else ""
        sink.add(WrongRecipeType(span=setting.span, key=entry.name, expected=expected, found=describe(setting.value)))
        return _MISSING
    return _read_word(entry, setting.value, setting.span, sink)


def _read_key(key: Key, path: str, value: Value, span: Span, sink: Sink) -> object:
    try:
        return key.kind.read(value)
    except WrongKind:
        sink.add(WrongRecipeType(span=span, key=path, expected=key.kind.text, found=describe(value)))
    except OutsideRange:
        sink.add(RecipeOutOfRange(span=span, key=path, allowed=key.kind.text, found=_found(value)))
    return _MISSING


def _found(value: Value) -> str:
    return shorten(value) if isinstance(value, (int, float)) else describe(value)


def _read_word(menu: Menu, word: Word, span: Span, sink: Sink) -> object:
    choice = _choice(menu, word.name)
    if choice is None:
        sink.add(UnknownChoice(span=span, key=menu.name, found=word.name, choices=tuple(c.name for c in menu.choices)))
        return _MISSING
    if len(word.positional) > len(choice.positional):
        problem = TooManyArguments(span=span, choice=word.name, takes=choice.positional, given=len(word.positional))
        sink.add(problem)
        return _MISSING
    return _read_arguments(menu, choice, word, span, sink)


def _read_arguments(menu: Menu, choice: Choice, word: Word, span: Span, sink: Sink) -> object:
    before = len(sink.items)
    values: dict[str, object] = {}
    for name, value in _without_positional(choice, word):
        key = next((key for key in choice.keys if key.name == name), None)
        if name in values:
            sink.add(_given_twice(choice, name, span))
        elif key is None:
            sink.add(_stray(menu, choice, name, span))
        else:
            values[name] = _read_key(key, f"{menu.name}.{name}", value, span, sink)
    if choice.needs and choice.needs[0] not in values:
        sink.add(MissingArgument(span=span, choice=choice.name, argument=choice.needs[1], example=choice.needs[2]))
    return _Picked(choice.name, values) if len(sink.items) == before else _MISSING


def _given_twice(choice: Choice, name: str, span: Span) -> RecipeKeyWithoutEffect:
    reason = f"'{choice.name}' is given '{name}' twice"
    return RecipeKeyWithoutEffect(span=span, key=name, reason=reason, fix="keep one of the two")


def _stray(menu: Menu, choice: Choice, name: str, span: Span) -> UnknownRecipeKey | RecipeKeyWithoutEffect:
    """A key that ``choice`` does not have: one of its siblings', or of nobody."""
    if choice.idle and name in choice.idle:
        reason, fix = choice.idle[name]
        return RecipeKeyWithoutEffect(span=span, key=f"{menu.name}.{name}", reason=f"{choice.name}: {reason}", fix=fix)
    known = tuple(key.name for key in choice.keys)
    return UnknownRecipeKey(span=span, key=name, owner=f"'{choice.name}'", known=known)


def _field(name: str, value: object) -> object:
    """What the ``Recipe`` holds for the value read."""
    if not isinstance(value, _Picked):
        return value
    if name == "data":
        return _data(value)
    if name in _MAKE:
        return _MAKE[name](kind=value.choice, **value.values)
    return value.choice


def _data(picked: _Picked) -> DataSource:
    if picked.choice in BUNDLED:
        return DataSource("bundled", picked.choice)
    return DataSource("pairs", cast(str, picked.values["path"]))


def _contradictions(recipe: Recipe) -> list[RecipeKeyWithoutEffect | RecipeOutOfRange]:
    """Keys that other keys leave without effect, and lengths that do not fit into each other."""
    found: list[RecipeKeyWithoutEffect | RecipeOutOfRange] = []
    for key, condition, reason, fix in _IDLE_KEYS:
        if key in recipe.spans and condition(recipe):
            found.append(RecipeKeyWithoutEffect(span=recipe.span(key), key=key, reason=reason, fix=fix))
    return [*found, *_too_long(recipe)]


_IDLE_KEYS: tuple[tuple[str, Any, str, str], ...] = (
    ("epochs", lambda r: "steps" in r.spans, "steps already sets how long training lasts", "keep one of the two"),
    ("split", lambda r: r.validation == 0, "validation is 0, so nothing is held out", "set validation above 0"),
    ("eval_every", lambda r: r.validation == 0, "validation is 0, so nothing is held out", "set validation above 0"),
    ("eval_batches", lambda r: r.validation == 0, "validation is 0, so nothing is held out", "set validation above 0"),
    ("split", lambda r: r.data is not None and r.data.kind == "pairs", "pairs are split by line", "remove it"),
)  # fmt: skip


def _too_long(recipe: Recipe) -> list[RecipeKeyWithoutEffect | RecipeOutOfRange]:
    """Warm-up and decay that do not fit into the steps; noam may end before its warm-up does."""
    schedule = recipe.schedule
    if schedule.kind == "noam":
        return []
    tail = schedule.decay if schedule.kind == "wsd" else 0
    parts = [part for part in (schedule.warmup, tail) if isinstance(part, float)]
    whole = [part for part in (schedule.warmup, tail) if isinstance(part, int)]
    over_steps = recipe.steps is not None and sum(parts) * recipe.steps + sum(whole) > recipe.steps
    if not (over_steps or sum(parts) > 1) or "schedule" not in recipe.spans:
        return []
    span, asked = recipe.span("schedule"), "schedule.warmup" if not tail else "schedule.warmup + decay"
    found = f"{schedule.warmup:g}" if not tail else f"{schedule.warmup:g} + {tail:g}"
    return [RecipeOutOfRange(span=span, key=asked, allowed="at most the steps of the run", found=found)]
