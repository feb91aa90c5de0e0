"""Words that are keywords only where what follows shows it (see the head of the grammar)."""

from __future__ import annotations

import re
from dataclasses import dataclass

RESERVED = ("if", "then", "else", "and", "or", "not", "of", "return", "extends")
KINDS = ("model", "block", "module", "wiring", "mask", "score", "fn")

_NOT_RESERVED = rf"(?!(?:{'|'.join(RESERVED)})\b)"
_MAX_TARGETS = 12  # so that a long list of names is not looked through again from each of them
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_NAME_FOLLOWS = re.compile(rf"[ \t]+{_NOT_RESERVED}[A-Za-z_]")
_OPERAND_FOLLOWS = re.compile(rf"[ \t]*\(|[ \t]+{_NOT_RESERVED}[A-Za-z_]")
_STRING_FOLLOWS = re.compile(rf'[ \t]*"|[ \t]+{_NOT_RESERVED}[A-Za-z_]')
_VALUE_FOLLOWS = re.compile(r'[ \t]+(?:(?!(?:then|else|and|or|of|extends)\b)[A-Za-z_0-9("\[])')
_ROUND_FOLLOWS = re.compile(r"[ \t]*\(")
_BRACKET_FOLLOWS = re.compile(r"[ \t]*\(|(?:[ \t\r\n]|#[^\n]*)*\{")
_LABEL_FOLLOWS = re.compile(rf"[ \t]+{_NAME}[ \t]*(?::|=(?!=))")
TARGETS = re.compile(rf"{_NAME}(?:[ \t]*,[ \t]*{_NOT_RESERVED}{_NAME}){{0,{_MAX_TARGETS}}}[ \t]*=(?!=)")


@dataclass(frozen=True)
class _Rule:
    """``word`` is ``terminal`` where ``follows`` matches after it."""

    terminal: str
    follows: re.Pattern[str]
    only_at_start: bool


_SOFT: dict[str, tuple[_Rule, ...]] = {
    "model": (_Rule("DEFINE", _NAME_FOLLOWS, False),),
    "block": (_Rule("DEFINE", _NAME_FOLLOWS, False), _Rule("BLOCK", _BRACKET_FOLLOWS, False)),
    "module": (_Rule("DEFINE", _NAME_FOLLOWS, False), _Rule("BLOCK", _BRACKET_FOLLOWS, False)),
    "fn": (_Rule("DEFINE", _NAME_FOLLOWS, False), _Rule("FN", _ROUND_FOLLOWS, False)),
    "wiring": (_Rule("DEFINE", _NAME_FOLLOWS, True),),
    "mask": (_Rule("DEFINE", _NAME_FOLLOWS, True),),
    "score": (_Rule("DEFINE", _NAME_FOLLOWS, True),),
    "let": (_Rule("LET", _NAME_FOLLOWS, True),),
    "input": (_Rule("INPUT", _NAME_FOLLOWS, True),),
    "remove": (_Rule("REMOVE", _NAME_FOLLOWS, True),),
    "use": (_Rule("USE", _STRING_FOLLOWS, True),),
    "expect": (_Rule("EXPECT", _VALUE_FOLLOWS, True),),
    "share": (_Rule("SHARE", _LABEL_FOLLOWS, True), _Rule("SHARED", _OPERAND_FOLLOWS, False)),
}
SOFT = frozenset(_SOFT)
_HEADS = frozenset({*KINDS, "let"})

# After these a soft keyword is a name whatever follows it.
_NAMING = frozenset({"DEFINE", "LET", "INPUT", "DOT", "SHARE", "REMOVE"})


def soft_terminal(word: str, text: str, end: int, previous: str | None, at_start: bool) -> str:
    """The terminal of a soft keyword that ends at ``end`` and may start a member if ``at_start``."""
    if previous in _NAMING:
        return "NAME"
    for rule in _SOFT[word]:
        if (at_start or not rule.only_at_start) and rule.follows.match(text, end):
            return rule.terminal
    return "NAME"


def begins_member(word: str, text: str, end: int) -> bool:
    """Whether a word that begins a line can only be the start of a member: ``return``, ``block local``."""
    return word == "return" or (word in _HEADS and _NAME_FOLLOWS.match(text, end) is not None)


__all__ = ["KINDS", "RESERVED", "SOFT", "TARGETS", "begins_member", "soft_terminal"]
