"""Mistakes in names, keys, values, shapes and expectations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from tantra_dsl.diagnostics.core import Diagnostic, Note, nearest, one_of
from tantra_dsl.syntax.source import Span


def suggest(name: str, candidates: tuple[str, ...]) -> str:
    """``did you mean a or b?``, or the whole list where it is short and nothing is near."""
    close = nearest(name, candidates)
    if close:
        return f"did you mean {one_of(f'`{c}`' for c in close)}?"
    if candidates and len(candidates) <= 24:
        return f"known here: {', '.join(sorted(candidates))}"
    return ""


@dataclass(frozen=True, kw_only=True)
class UndefinedName(Diagnostic):
    """A name that nothing defines."""

    code: ClassVar[str] = "N0101"
    name: str
    candidates: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return f"`{self.name}` is not defined"

    @property
    def help(self) -> str:
        return suggest(self.name, self.candidates) if nearest(self.name, self.candidates) else ""


@dataclass(frozen=True, kw_only=True)
class CircularDefinition(Diagnostic):
    """A value, an ``extends`` or an import that needs itself."""

    code: ClassVar[str] = "N0102"
    what: str
    chain: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.what} depends on itself"

    @property
    def notes(self) -> tuple[Note, ...]:
        return (Note(" -> ".join(self.chain)),) if self.chain else ()


@dataclass(frozen=True, kw_only=True)
class UnknownPath(Diagnostic):
    """An override, removal or reference to something that is not there."""

    code: ClassVar[str] = "N0103"
    path: str
    missing: str
    candidates: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return f"`{self.path}` names nothing: there is no `{self.missing}`"

    @property
    def help(self) -> str:
        if self.missing == "train":
            return f"what it extends has no recipe; begin one: `train {{ {self.path.removeprefix('train.')}: ... }}`"
        if self.missing.startswith("["):
            return f"layers are set together, by their index where they differ: `if i == {self.missing[1:-1]} then ...`"
        return suggest(self.missing, self.candidates)


@dataclass(frozen=True, kw_only=True)
class NameClash(Diagnostic):
    """Two sets of weights would get one name."""

    code: ClassVar[str] = "N0104"
    name: str
    where: str
    advice: str = ""

    @property
    def title(self) -> str:
        return f"two sets of weights in {self.where} would both be called `{self.name}`"

    @property
    def help(self) -> str:
        return self.advice or "assign one of them to a variable of its own, or give it a label"


@dataclass(frozen=True, kw_only=True)
class Redefined(Diagnostic):
    """A name that two used files define differently."""

    code: ClassVar[str] = "N0105"
    name: str
    first: Span

    @property
    def title(self) -> str:
        return f"`{self.name}` is defined by two of the files that are used here"

    @property
    def notes(self) -> tuple[Note, ...]:
        return (Note("the other is defined here", self.first),)

    @property
    def help(self) -> str:
        return f"rename one of them, or define `{self.name}` in the file that uses both"


@dataclass(frozen=True, kw_only=True)
class NoModel(Diagnostic):
    """A file without the model that was asked for."""

    code: ClassVar[str] = "N0106"
    wanted: str
    models: tuple[str, ...]

    @property
    def title(self) -> str:
        if not self.models:
            return "there is no model here"
        if not self.wanted:
            return f"there are {len(self.models)} models here, none of which stands out"
        return f"there is no model `{self.wanted}` here"

    @property
    def help(self) -> str:
        if not self.models:
            return "write `model name { ... }`"
        return f"choose one with `file:name`: {', '.join(self.models)}"


@dataclass(frozen=True, kw_only=True)
class UnknownKey(Diagnostic):
    """A key that means nothing where it stands."""

    code: ClassVar[str] = "K0101"
    key: str
    owner: str
    candidates: tuple[str, ...]
    defined_at: Span | None = None

    @property
    def title(self) -> str:
        return f"{self.owner} has no `{self.key}`"

    @property
    def notes(self) -> tuple[Note, ...]:
        return (Note(f"{self.owner} is defined here", self.defined_at),) if self.defined_at else ()

    @property
    def help(self) -> str:
        return suggest(self.key, self.candidates)


@dataclass(frozen=True, kw_only=True)
class NoEffect(Diagnostic):
    """A key, equation or definition that changes nothing."""

    code: ClassVar[str] = "K0102"
    what: str
    reason: str

    @property
    def title(self) -> str:
        return f"{self.what} has no effect"

    @property
    def label(self) -> str:
        return self.reason

    @property
    def help(self) -> str:
        return "remove it, or change what makes it idle"


@dataclass(frozen=True, kw_only=True)
class MissingKey(Diagnostic):
    """Something needed was not given."""

    code: ClassVar[str] = "K0103"
    owner: str
    missing: tuple[str, ...]
    defined_at: Span | None = None

    @property
    def title(self) -> str:
        return f"{self.owner} needs {one_of(f'`{m}`' for m in self.missing)}"

    @property
    def notes(self) -> tuple[Note, ...]:
        return (Note(f"{self.owner} is defined here", self.defined_at),) if self.defined_at else ()


@dataclass(frozen=True, kw_only=True)
class TooManyArguments(Diagnostic):
    """More values than there are places for them, or two for one place."""

    code: ClassVar[str] = "K0104"
    owner: str
    reason: str

    @property
    def title(self) -> str:
        return f"{self.owner} {self.reason}"


@dataclass(frozen=True, kw_only=True)
class Misplaced(Diagnostic):
    """A member that cannot stand where it stands."""

    code: ClassVar[str] = "K0105"
    what: str
    where: str
    advice: str = ""

    @property
    def title(self) -> str:
        return f"{self.what} cannot stand in {self.where}"

    @property
    def help(self) -> str:
        return self.advice


@dataclass(frozen=True, kw_only=True)
class WrongType(Diagnostic):
    """A value of the wrong sort."""

    code: ClassVar[str] = "T0101"
    wanted: str
    got: str
    where: str = ""
    advice: str = ""

    @property
    def title(self) -> str:
        at = f"{self.where} " if self.where else ""
        return f"{at}needs {self.wanted}, but got {self.got}"

    @property
    def help(self) -> str:
        return self.advice


@dataclass(frozen=True, kw_only=True)
class BadArithmetic(Diagnostic):
    """An expression without a value."""

    code: ClassVar[str] = "T0102"
    reason: str

    @property
    def title(self) -> str:
        return self.reason


@dataclass(frozen=True, kw_only=True)
class ShapeMismatch(Diagnostic):
    """Tensors that do not fit an operation."""

    code: ClassVar[str] = "T0201"
    op: str
    reason: str
    operands: tuple[Note, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.op}: {self.reason}"

    @property
    def notes(self) -> tuple[Note, ...]:
        return self.operands


@dataclass(frozen=True, kw_only=True)
class StreamChanged(Diagnostic):
    """A layer that does not give back what it takes."""

    code: ClassVar[str] = "T0202"
    layer: str
    taken: str
    given: str

    @property
    def title(self) -> str:
        return f"{self.layer} takes {self.taken} but gives {self.given}, so it cannot be stacked"


@dataclass(frozen=True, kw_only=True)
class SharedLayersDiffer(Diagnostic):
    """Layers that share their weights but are built differently."""

    code: ClassVar[str] = "T0203"
    name: str

    @property
    def title(self) -> str:
        return f"the layers of `{self.name}` share one set of weights, but differ by their index"

    @property
    def help(self) -> str:
        return "spell the differing layers out as blocks that call one `share`d module"


@dataclass(frozen=True, kw_only=True)
class TooLarge(Diagnostic):
    """A spec beyond the limits that keep checking bounded."""

    code: ClassVar[str] = "T0301"
    what: str
    limit: str

    @property
    def title(self) -> str:
        return f"{self.what}; the limit is {self.limit}"


@dataclass(frozen=True, kw_only=True)
class ExpectationFailed(Diagnostic):
    """An ``expect`` that does not hold."""

    code: ClassVar[str] = "E0101"
    text: str
    actual: tuple[tuple[str, str], ...]

    @property
    def title(self) -> str:
        return f"expected {self.text}, but {', '.join(f'{name} is {value}' for name, value in self.actual)}"


@dataclass(frozen=True, kw_only=True)
class ExpectationSetAside(ExpectationFailed):
    """An ``expect`` that does not hold once the model is changed from outside (``--set``)."""

    code: ClassVar[str] = "E0103"
    severity: ClassVar[Literal["error", "warning"]] = "warning"

    @property
    def help(self) -> str:
        return "it speaks of the model as written; overrides with `--set` changed that"


@dataclass(frozen=True, kw_only=True)
class UnknownExpectation(Diagnostic):
    """An ``expect`` about something that is not known of this model."""

    code: ClassVar[str] = "E0102"
    name: str

    @property
    def title(self) -> str:
        return f"`{self.name}` is not known for this model, so nothing can be expected of it"


@dataclass(frozen=True, kw_only=True)
class UndeclaredField(Diagnostic):
    """A mask or score that reads a field which the batch does not bring."""

    code: ClassVar[str] = "N0107"
    name: str
    declared: tuple[str, ...]
    whole: bool = False

    @property
    def title(self) -> str:
        return f"`{self.name}` is not a field of this model's inputs"

    @property
    def notes(self) -> tuple[Note, ...]:
        return (Note(f"fields declared here: {', '.join(self.declared)}"),) if self.declared else ()

    @property
    def help(self) -> str:
        kind = "per_sequence" if self.whole else "per_token"
        return f"declare it in the model: `input {self.name}: {kind}`"


@dataclass(frozen=True, kw_only=True)
class PathOutside(Diagnostic):
    """A ``use`` of a file outside the folders that a spec may read."""

    code: ClassVar[str] = "F0201"
    path: str
    root: str

    @property
    def title(self) -> str:
        return f"`{self.path}` lies outside {self.root}, and a spec opens no file elsewhere"

    @property
    def help(self) -> str:
        return "move the file below the folder of the spec, or use a shipped spec by its name"


@dataclass(frozen=True, kw_only=True)
class UnknownSpec(Diagnostic):
    """A name that is neither a file nor a shipped spec."""

    code: ClassVar[str] = "F0202"
    name: str
    candidates: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return f"there is no file and no shipped spec called `{self.name}`"

    @property
    def help(self) -> str:
        close = suggest(self.name, self.candidates) if nearest(self.name, self.candidates) else ""
        return close or "`tantra list` shows what ships"
