"""Diagnostics of reading: tokens and structure (S01xx), duplicates (S02xx), the YAML form (S03xx)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tantra_dsl.diagnostics.core import Diagnostic, Note
from tantra_dsl.syntax.source import Span


@dataclass(frozen=True, kw_only=True)
class Unexpected(Diagnostic):
    """A token that cannot stand where it stands; ``expected`` is in the author's terms."""

    code: ClassVar[str] = "S0101"
    found: str
    expected: str
    advice: str = ""

    @property
    def title(self) -> str:
        return f"unexpected {self.found}"

    @property
    def label(self) -> str:
        return f"expected {self.expected}" if self.expected else ""

    @property
    def help(self) -> str:
        return self.advice


@dataclass(frozen=True, kw_only=True)
class UnknownCharacter(Diagnostic):
    """A character that no part of the language uses."""

    code: ClassVar[str] = "S0102"
    text: str
    name: str

    @property
    def title(self) -> str:
        return f"{self.name} means nothing here"

    @property
    def help(self) -> str:
        return "remove it; names are made of ASCII letters, digits and `_`"


@dataclass(frozen=True, kw_only=True)
class ForeignSpelling(Diagnostic):
    """A spelling from another language or a word processor: ``&&``, ``True``, ``≤``, smart quotes."""

    code: ClassVar[str] = "S0103"
    found: str
    instead: str

    @property
    def title(self) -> str:
        return f"`{self.found}` is spelled `{self.instead}` here"

    @property
    def help(self) -> str:
        return f"write `{self.instead}`"


@dataclass(frozen=True, kw_only=True)
class UnterminatedString(Diagnostic):
    """A string without its closing quote on the line."""

    code: ClassVar[str] = "S0104"

    @property
    def title(self) -> str:
        return "this string has no closing quote"

    @property
    def label(self) -> str:
        return "starts here, and the line ends first"

    @property
    def help(self) -> str:
        return 'close it with `"`; a line break inside a string is written `\\n`'


@dataclass(frozen=True, kw_only=True)
class BadEscape(Diagnostic):
    """A backslash in a string with something that is no escape."""

    code: ClassVar[str] = "S0105"
    text: str

    @property
    def title(self) -> str:
        return f"`{self.text}` is not an escape"

    @property
    def help(self) -> str:
        return 'the escapes are \\" \\\\ \\n \\t \\r \\uXXXX and \\UXXXXXXXX; a backslash itself is \\\\'


@dataclass(frozen=True, kw_only=True)
class BadNumber(Diagnostic):
    """Something that starts like a number and is none."""

    code: ClassVar[str] = "S0106"
    text: str

    @property
    def title(self) -> str:
        return f"`{self.text}` is not a number"

    @property
    def help(self) -> str:
        return "numbers look like `768`, `50_257`, `0.5`, `1e-6`, `1.5B`: no leading zeros, no base prefix"


@dataclass(frozen=True, kw_only=True)
class NumberTooLong(Diagnostic):
    """A number literal beyond the size limits."""

    code: ClassVar[str] = "S0107"
    reason: str

    @property
    def title(self) -> str:
        return f"this number has {self.reason}"

    @property
    def help(self) -> str:
        return "a number has at most 40 digits and an exponent between -308 and 308"


@dataclass(frozen=True, kw_only=True)
class Unclosed(Diagnostic):
    """An opening bracket that nothing closes."""

    code: ClassVar[str] = "S0108"
    opener: str
    closer: str
    stopped_at: Span | None = None

    @property
    def title(self) -> str:
        return f"this `{self.opener}` is never closed"

    @property
    def label(self) -> str:
        return f"no `{self.closer}` for this"

    @property
    def notes(self) -> tuple[Note, ...]:
        if self.stopped_at is None:
            return ()
        return (Note("this closes an outer bracket, or another one by its indentation", self.stopped_at),)

    @property
    def help(self) -> str:
        return f"add the missing `{self.closer}`"


@dataclass(frozen=True, kw_only=True)
class Unopened(Diagnostic):
    """A closing bracket that nothing opened, or that closes another kind."""

    code: ClassVar[str] = "S0109"
    closer: str
    opener: str = ""
    opened_at: Span | None = None

    @property
    def title(self) -> str:
        return f"`{self.closer}` closes `{self.opener}`" if self.opener else f"this `{self.closer}` closes nothing"

    @property
    def notes(self) -> tuple[Note, ...]:
        return (Note(f"`{self.opener}` was opened here", self.opened_at),) if self.opened_at else ()

    @property
    def help(self) -> str:
        return "use the bracket that was opened" if self.opener else "remove it, or look for a bracket closed too early"


@dataclass(frozen=True, kw_only=True)
class EqualInArguments(Diagnostic):
    """``=`` where an argument takes ``:``."""

    code: ClassVar[str] = "S0110"
    name: str
    value: str

    @property
    def title(self) -> str:
        return "an argument is given with `:`, not `=`"

    @property
    def help(self) -> str:
        return f"write `{self.name}: {self.value}`; `=` is for equations and parameter defaults"


@dataclass(frozen=True, kw_only=True)
class ChainedComparison(Diagnostic):
    """``a < b < c``."""

    code: ClassVar[str] = "S0111"

    @property
    def title(self) -> str:
        return "comparisons do not chain"

    @property
    def label(self) -> str:
        return "the second comparison"

    @property
    def help(self) -> str:
        return "write both, joined with `and`: `a <= b and b < c`"


@dataclass(frozen=True, kw_only=True)
class SideBySide(Diagnostic):
    """Two values with nothing between them on one line."""

    code: ClassVar[str] = "S0112"
    before: str
    after: str
    advice: str

    @property
    def title(self) -> str:
        return f"nothing stands between `{self.before}` and `{self.after}`"

    @property
    def help(self) -> str:
        return self.advice


@dataclass(frozen=True, kw_only=True)
class MissingValue(Diagnostic):
    """A ``:``, ``=`` or operator with nothing after it."""

    code: ClassVar[str] = "S0113"
    after: str

    @property
    def title(self) -> str:
        return f"nothing follows `{self.after}`"

    @property
    def label(self) -> str:
        return "expected a value after this"


@dataclass(frozen=True, kw_only=True)
class TooDeep(Diagnostic):
    """Nesting beyond the limit."""

    code: ClassVar[str] = "S0114"
    limit: int

    @property
    def title(self) -> str:
        return f"nested more than {self.limit} levels deep"

    @property
    def help(self) -> str:
        return "name the inner parts with `let` or an equation, and refer to them"


@dataclass(frozen=True, kw_only=True)
class NotAPath(Diagnostic):
    """Something before ``:`` that names no place."""

    code: ClassVar[str] = "S0115"

    @property
    def title(self) -> str:
        return "this is not a key"

    @property
    def help(self) -> str:
        return "a key is a name or a path such as `attention.heads` or `layers[3].attention.mask`"


@dataclass(frozen=True, kw_only=True)
class NotAnArgument(Diagnostic):
    """A member that a call's braces cannot hold."""

    code: ClassVar[str] = "S0116"
    what: str
    callee: str

    @property
    def title(self) -> str:
        return f"{self.what} cannot stand in the braces of `{self.callee}`"

    @property
    def help(self) -> str:
        return f"`{self.callee} {{ }}` is a call: it holds keys and sublayers; equations stand in `block(x) {{ }}`"


@dataclass(frozen=True, kw_only=True)
class MisplacedNot(Diagnostic):
    """``not`` after an operator that binds tighter: ``a == not b``."""

    code: ClassVar[str] = "S0117"
    operator: str

    @property
    def title(self) -> str:
        return f"`not` after `{self.operator}` needs parentheses"

    @property
    def help(self) -> str:
        return f"write `{self.operator} (not ...)`"


@dataclass(frozen=True, kw_only=True)
class DuplicateKey(Diagnostic):
    """One key set twice in one body or call."""

    code: ClassVar[str] = "S0201"
    key: str
    first: Span

    @property
    def title(self) -> str:
        return f"`{self.key}` is set twice"

    @property
    def label(self) -> str:
        return "set again here"

    @property
    def notes(self) -> tuple[Note, ...]:
        return (Note("first set here", self.first),)

    @property
    def help(self) -> str:
        return "keep one of them"


@dataclass(frozen=True, kw_only=True)
class DuplicateName(Diagnostic):
    """One name defined twice at one level, or twice in one parameter list."""

    code: ClassVar[str] = "S0202"
    name: str
    what: str
    first: Span

    @property
    def title(self) -> str:
        return f"{self.what} `{self.name}` is defined twice"

    @property
    def label(self) -> str:
        return "defined again here"

    @property
    def notes(self) -> tuple[Note, ...]:
        return (Note("first defined here", self.first),)

    @property
    def help(self) -> str:
        return "rename or remove one of them"


@dataclass(frozen=True, kw_only=True)
class NotYaml(Diagnostic):
    """Text that is no YAML at all; ``problem`` comes from the YAML reader."""

    code: ClassVar[str] = "S0301"
    problem: str
    advice: str = ""

    @property
    def title(self) -> str:
        return f"not valid YAML: {self.problem}"

    @property
    def help(self) -> str:
        return self.advice


@dataclass(frozen=True, kw_only=True)
class YamlFeature(Diagnostic):
    """A part of YAML that specs do not use: anchors, aliases, tags, merge keys, several documents."""

    code: ClassVar[str] = "S0302"
    feature: str
    advice: str

    @property
    def title(self) -> str:
        return f"a spec uses no YAML {self.feature}"

    @property
    def help(self) -> str:
        return self.advice


@dataclass(frozen=True, kw_only=True)
class YamlShape(Diagnostic):
    """A mapping, list or scalar where the form wants another."""

    code: ClassVar[str] = "S0303"
    found: str
    expected: str
    advice: str = ""

    @property
    def title(self) -> str:
        return f"{self.found} cannot stand here"

    @property
    def label(self) -> str:
        return f"expected {self.expected}"

    @property
    def help(self) -> str:
        return self.advice


__all__ = [
    "BadEscape",
    "BadNumber",
    "ChainedComparison",
    "DuplicateKey",
    "DuplicateName",
    "EqualInArguments",
    "ForeignSpelling",
    "MisplacedNot",
    "MissingValue",
    "NotAPath",
    "NotAnArgument",
    "NotYaml",
    "NumberTooLong",
    "SideBySide",
    "TooDeep",
    "Unclosed",
    "Unexpected",
    "UnknownCharacter",
    "Unopened",
    "UnterminatedString",
    "YamlFeature",
    "YamlShape",
]
