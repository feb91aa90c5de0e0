"""R01: mistakes in a ``train`` section, found without data and without a tensor library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tantra_dsl.diagnostics.core import Diagnostic, Note, nearest, one_of


@dataclass(frozen=True, kw_only=True)
class UnknownRecipeKey(Diagnostic):
    """R0101: a key that the recipe, or one of its choices, does not have."""

    code: ClassVar[str] = "R0101"
    key: str
    owner: str
    known: tuple[str, ...]
    belongs: str = ""

    @property
    def title(self) -> str:
        """What is wrong."""
        return f"{self.owner} has no key '{self.key}'"

    @property
    def help(self) -> str:
        """What to do."""
        if self.belongs:
            return f"write it inside the {self.belongs}, as in '{self.belongs}: ...({self.key}: ...)'"
        close = nearest(self.key, self.known)
        return f"did you mean {one_of(close)}?" if close else f"its keys are {', '.join(sorted(self.known))}"


@dataclass(frozen=True, kw_only=True)
class WrongRecipeType(Diagnostic):
    """R0102: a value of the wrong type."""

    code: ClassVar[str] = "R0102"
    key: str
    expected: str
    found: str

    @property
    def title(self) -> str:
        """What is wrong."""
        return f"'{self.key}' is {self.expected}, not {self.found}"

    @property
    def label(self) -> str:
        """What stands under the caret."""
        return f"expected {self.expected}"


@dataclass(frozen=True, kw_only=True)
class RecipeOutOfRange(Diagnostic):
    """R0103: a number outside the range that its key allows."""

    code: ClassVar[str] = "R0103"
    key: str
    allowed: str
    found: str

    @property
    def title(self) -> str:
        """What is wrong."""
        return f"'{self.key}' is {self.found}, outside its range"

    @property
    def label(self) -> str:
        """What stands under the caret."""
        return f"'{self.key}' is {self.allowed}"


@dataclass(frozen=True, kw_only=True)
class RecipeKeyWithoutEffect(Diagnostic):
    """R0104: a key that could change nothing where it stands."""

    code: ClassVar[str] = "R0104"
    key: str
    reason: str
    fix: str

    @property
    def title(self) -> str:
        """What is wrong."""
        return f"'{self.key}' has no effect here"

    @property
    def notes(self) -> tuple[Note, ...]:
        """Why."""
        return (Note(self.reason),)

    @property
    def help(self) -> str:
        """What to do."""
        return self.fix


@dataclass(frozen=True, kw_only=True)
class UnknownChoice(Diagnostic):
    """R0105: a name that is none of a key's choices."""

    code: ClassVar[str] = "R0105"
    key: str
    found: str
    choices: tuple[str, ...]

    @property
    def title(self) -> str:
        """What is wrong."""
        return f"'{self.found}' is no {self.key}"

    @property
    def label(self) -> str:
        """What stands under the caret."""
        return f"{self.key} is {one_of(self.choices)}"

    @property
    def help(self) -> str:
        """What to do."""
        close = nearest(self.found, self.choices)
        return f"did you mean {one_of(close)}?" if close else ""


@dataclass(frozen=True, kw_only=True)
class MissingArgument(Diagnostic):
    """R0106: a choice without an argument that it needs."""

    code: ClassVar[str] = "R0106"
    choice: str
    argument: str
    example: str

    @property
    def title(self) -> str:
        """What is wrong."""
        return f"'{self.choice}' needs {self.argument}"

    @property
    def help(self) -> str:
        """What to do."""
        return f"for example {self.example}"


@dataclass(frozen=True, kw_only=True)
class TooManyArguments(Diagnostic):
    """R0107: more unnamed arguments than a choice takes, or one given twice."""

    code: ClassVar[str] = "R0107"
    choice: str
    takes: tuple[str, ...]
    given: int

    @property
    def title(self) -> str:
        """What is wrong."""
        return f"'{self.choice}' takes {len(self.takes)} unnamed arguments, not {self.given}"

    @property
    def help(self) -> str:
        """What to do."""
        return "name the arguments, as in 'cosine(warmup: 100)'"


__all__ = [
    "MissingArgument",
    "RecipeKeyWithoutEffect",
    "RecipeOutOfRange",
    "TooManyArguments",
    "UnknownChoice",
    "UnknownRecipeKey",
    "WrongRecipeType",
]
