"""R02 (data), R03 (run folders and checkpoints), R04 (the run itself): what can go wrong while a model trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from tantra_dsl.diagnostics.core import Diagnostic, Note, nearest, one_of
from tantra_dsl.syntax.source import Source, Span


def at_path(path: object) -> Span:
    """A span for a mistake that lies in a file or folder as a whole."""
    return Span(Source(str(path), ""), 0, 0)


# --- R02: data ---------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class NoData(Diagnostic):
    """R0201: nothing says what to train on."""

    code: ClassVar[str] = "R0201"
    bundled: tuple[str, ...]

    @property
    def title(self) -> str:
        """What is wrong."""
        return "the spec names no data to train on"

    @property
    def help(self) -> str:
        """What to do."""
        return f"write train {{ data: {self.bundled[0]} }}, or pass --data FILE"


@dataclass(frozen=True, kw_only=True)
class DataNotFound(Diagnostic):
    """R0202: data that is not there, or is neither a text file nor a folder of them."""

    code: ClassVar[str] = "R0202"
    path: str
    reason: str
    bundled: tuple[str, ...]

    @property
    def title(self) -> str:
        """What is wrong."""
        return f"cannot read data '{self.path}': {self.reason}"

    @property
    def help(self) -> str:
        """What to do."""
        close = nearest(self.path, self.bundled)
        return f"did you mean {one_of(close)}?" if close else f"bundled data: {one_of(self.bundled)}"


@dataclass(frozen=True, kw_only=True)
class DataNotText(Diagnostic):
    """R0203: data that is not UTF-8."""

    code: ClassVar[str] = "R0203"
    path: str
    offset: int

    @property
    def title(self) -> str:
        """What is wrong."""
        return f"data '{self.path}' is not UTF-8 text: byte {self.offset} does not decode"

    @property
    def help(self) -> str:
        """What to do."""
        return "convert the file to UTF-8, for example with iconv"


@dataclass(frozen=True, kw_only=True)
class DataTooShort(Diagnostic):
    """R0204: fewer tokens than one sequence needs."""

    code: ClassVar[str] = "R0204"
    part: str
    tokens: int
    needed: int
    context: bool

    @property
    def title(self) -> str:
        """What is wrong."""
        noun = "token" if self.tokens == 1 else "tokens"
        return (
            f"the {self.part} part of the data has {self.tokens} {noun}, fewer than the {self.needed} of one sequence"
        )

    @property
    def help(self) -> str:
        """What to do."""
        more = "give more data"
        return f"{more}, or set train.context to at most {self.tokens}" if self.context and self.tokens > 1 else more


@dataclass(frozen=True, kw_only=True)
class VocabTooSmall(Diagnostic):
    """R0205: the tokenizer makes more tokens than the model has."""

    code: ClassVar[str] = "R0205"
    tokenizer: str
    needed: int
    vocab: int
    specials: tuple[str, ...]

    @property
    def title(self) -> str:
        """What is wrong."""
        over = self.needed - self.vocab
        return f"the {self.tokenizer} tokenizer has {self.needed} tokens, {over} more than the model's {self.vocab}"

    @property
    def notes(self) -> tuple[Note, ...]:
        """Why."""
        return (
            (Note(f"of these {len(self.specials)} are special: {', '.join(self.specials)}"),) if self.specials else ()
        )

    @property
    def help(self) -> str:
        """What to do."""
        return f"write vocab: {self.needed}"


@dataclass(frozen=True, kw_only=True)
class MalformedPair(Diagnostic):
    """R0206: a line of pairs without exactly one tab, or with an empty side."""

    code: ClassVar[str] = "R0206"
    path: str
    line: int
    reason: str

    @property
    def title(self) -> str:
        """What is wrong."""
        return f"line {self.line} of '{self.path}' is no pair: {self.reason}"

    @property
    def help(self) -> str:
        """What to do."""
        return "each line is a source, one tab and a target"


@dataclass(frozen=True, kw_only=True)
class ContextTooLong(Diagnostic):
    """R0207: sequences longer than the model can hold."""

    code: ClassVar[str] = "R0207"
    asked: int
    context: int

    @property
    def title(self) -> str:
        """What is wrong."""
        return f"train.context is {self.asked}, more than the model's context of {self.context}"

    @property
    def help(self) -> str:
        """What to do."""
        return f"set train.context to at most {self.context}, or the model's context to {self.asked}"


@dataclass(frozen=True, kw_only=True)
class UnsupportedObjective(Diagnostic):
    """R0208: inputs that training cannot make batches for."""

    code: ClassVar[str] = "R0208"
    inputs: tuple[tuple[str, str], ...]
    reason: str

    @property
    def title(self) -> str:
        """What is wrong."""
        shown = ", ".join(f"{name}: {kind}" for name, kind in self.inputs) or "none"
        return f"training does not support these inputs yet: {shown}"

    @property
    def notes(self) -> tuple[Note, ...]:
        """Why."""
        return (
            Note(self.reason),
            Note("supported: tokens (next token); tokens and labels (masked token); source and target tokens (pairs)"),
        )


@dataclass(frozen=True, kw_only=True)
class WrongDataForm(Diagnostic):
    """R0209: data of a form that the model's inputs do not take."""

    code: ClassVar[str] = "R0209"
    given: str
    wanted: str
    example: str

    @property
    def title(self) -> str:
        """What is wrong."""
        return f"the data is {self.given}, but the model's inputs take {self.wanted}"

    @property
    def help(self) -> str:
        """What to do."""
        return f"write {self.example}"


@dataclass(frozen=True, kw_only=True)
class TooFewDocuments(Diagnostic):
    """R0210: a split by document without two documents."""

    code: ClassVar[str] = "R0210"
    found: int

    @property
    def title(self) -> str:
        """What is wrong."""
        noun = "document" if self.found == 1 else "documents"
        return f"split: document needs at least 2 documents, but the data has {self.found} {noun}"

    @property
    def help(self) -> str:
        """What to do."""
        return "give a folder of files, or write split: position"


@dataclass(frozen=True, kw_only=True)
class NoEffectOnModel(Diagnostic):
    """R0211: a recipe key that this model leaves without effect."""

    code: ClassVar[str] = "R0211"
    key: str
    reason: str

    @property
    def title(self) -> str:
        """What is wrong."""
        return f"'{self.key}' has no effect on this model"

    @property
    def notes(self) -> tuple[Note, ...]:
        """Why."""
        return (Note(self.reason),)

    @property
    def help(self) -> str:
        """What to do."""
        return "remove it"


# --- R03: run folders and checkpoints ----------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class FolderInUse(Diagnostic):
    """R0301: another process trains into the folder."""

    code: ClassVar[str] = "R0301"
    folder: str
    holder: str

    @property
    def title(self) -> str:
        """What is wrong."""
        return f"run folder '{self.folder}' is in use by {self.holder}"

    @property
    def help(self) -> str:
        """What to do."""
        return "wait for it to end, or choose another folder with --out"


@dataclass(frozen=True, kw_only=True)
class CannotWrite(Diagnostic):
    """R0302: a file or folder of the run that cannot be written."""

    code: ClassVar[str] = "R0302"
    path: str
    reason: str

    @property
    def title(self) -> str:
        """What is wrong."""
        return f"cannot write '{self.path}': {self.reason}"

    @property
    def help(self) -> str:
        """What to do."""
        return "choose a folder that you may write to with --out"


@dataclass(frozen=True, kw_only=True)
class DiskFull(Diagnostic):
    """R0303: no space left for the run's files."""

    code: ClassVar[str] = "R0303"
    path: str
    resumable: str

    @property
    def title(self) -> str:
        """What is wrong."""
        return f"no space left to write '{self.path}'"

    @property
    def notes(self) -> tuple[Note, ...]:
        """Why."""
        kept = "the last good checkpoint is untouched" if self.resumable else "nothing was left half-written"
        return (Note(kept),)

    @property
    def help(self) -> str:
        """What to do."""
        return f"free some space, then tantra train --resume {self.resumable}" if self.resumable else "free some space"


@dataclass(frozen=True, kw_only=True)
class OtherSpec(Diagnostic):
    """R0304: a run or checkpoint of another spec; says what differs."""

    code: ClassVar[str] = "R0304"
    folder: str
    differences: tuple[str, ...]

    @property
    def title(self) -> str:
        """What is wrong."""
        return f"the run in '{self.folder}' is of another spec"

    @property
    def notes(self) -> tuple[Note, ...]:
        """Why."""
        return tuple(Note(difference) for difference in self.differences)

    @property
    def help(self) -> str:
        """What to do."""
        return "resume without naming a spec, or start a new run with --out"


@dataclass(frozen=True, kw_only=True)
class BadCheckpoint(Diagnostic):
    """R0305: a checkpoint that does not hold what was saved; an older one is used."""

    code: ClassVar[str] = "R0305"
    severity: ClassVar[Literal["error", "warning"]] = "warning"
    checkpoint: str
    reason: str
    fallback: str

    @property
    def title(self) -> str:
        """What is wrong."""
        return f"checkpoint '{self.checkpoint}' is damaged: {self.reason}"

    @property
    def help(self) -> str:
        """What to do."""
        return f"using {self.fallback} instead"


@dataclass(frozen=True, kw_only=True)
class NoCheckpoint(Diagnostic):
    """R0306: a run folder without a checkpoint that can be used."""

    code: ClassVar[str] = "R0306"
    folder: str
    damaged: tuple[str, ...]

    @property
    def title(self) -> str:
        """What is wrong."""
        return f"run folder '{self.folder}' holds no checkpoint that can be used"

    @property
    def notes(self) -> tuple[Note, ...]:
        """Why."""
        return tuple(Note(text) for text in self.damaged)

    @property
    def help(self) -> str:
        """What to do."""
        return "train again into a new folder"


@dataclass(frozen=True, kw_only=True)
class NotARun(Diagnostic):
    """R0307: a folder that no training wrote."""

    code: ClassVar[str] = "R0307"
    folder: str
    reason: str

    @property
    def title(self) -> str:
        """What is wrong."""
        return f"'{self.folder}' is not a run folder: {self.reason}"

    @property
    def help(self) -> str:
        """What to do."""
        return "name a folder that 'tantra train' wrote"


@dataclass(frozen=True, kw_only=True)
class FolderNotEmpty(Diagnostic):
    """R0308: a new run into a folder that holds something."""

    code: ClassVar[str] = "R0308"
    folder: str
    is_run: bool

    @property
    def title(self) -> str:
        """What is wrong."""
        return f"folder '{self.folder}' already holds {'a run' if self.is_run else 'other files'}"

    @property
    def help(self) -> str:
        """What to do."""
        go_on = f"go on with --resume {self.folder}, or " if self.is_run else ""
        return f"{go_on}choose a new folder with --out"


@dataclass(frozen=True, kw_only=True)
class DataChanged(Diagnostic):
    """R0309: other data or tokens than the run began with."""

    code: ClassVar[str] = "R0309"
    folder: str
    what: str

    @property
    def title(self) -> str:
        """What is wrong."""
        return f"{self.what} changed since the run in '{self.folder}' began"

    @property
    def help(self) -> str:
        """What to do."""
        return "restore it, or start a new run with --out"


# --- R04: the run ------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class NonFinite(Diagnostic):
    """R0401: a loss or gradient that is not a finite number."""

    code: ClassVar[str] = "R0401"
    what: str
    value: str
    step: int
    batch: str
    layer: str
    last_loss: str
    dump: str

    @property
    def title(self) -> str:
        """What is wrong."""
        return f"the {self.what} is {self.value} at step {self.step}"

    @property
    def notes(self) -> tuple[Note, ...]:
        """Why."""
        dump = (Note(f"the batch is kept in {self.dump}"),) if self.dump else ()
        return (Note(f"first not finite: {self.layer}"), Note(f"batch: {self.batch}"), Note(self.last_loss), *dump)

    @property
    def help(self) -> str:
        """What to do."""
        return "lower optimizer.lr, lengthen schedule.warmup, set clip, or set precision: float32"


@dataclass(frozen=True, kw_only=True)
class OutOfMemory(Diagnostic):
    """R0402: a step that does not fit into memory."""

    code: ClassVar[str] = "R0402"
    batch: int
    context: int

    @property
    def title(self) -> str:
        """What is wrong."""
        return f"no memory for a batch of {self.batch} sequences of {self.context} tokens"

    @property
    def help(self) -> str:
        """What to do."""
        half = max(1, self.batch // 2)
        return f"set train.batch to {half} and double train.accumulate: the step stays the same"


@dataclass(frozen=True, kw_only=True)
class UnknownInPrompt(Diagnostic):
    """R0403: a prompt with characters that the tokenizer does not know."""

    code: ClassVar[str] = "R0403"
    characters: tuple[str, ...]

    @property
    def title(self) -> str:
        """What is wrong."""
        shown = ", ".join(repr(character) for character in self.characters[:5])
        return f"the prompt has characters that the model never saw: {shown}"

    @property
    def help(self) -> str:
        """What to do."""
        return "use characters of the training text"


@dataclass(frozen=True, kw_only=True)
class CannotSample(Diagnostic):
    """R0404: a model that does not predict the next token from tokens alone."""

    code: ClassVar[str] = "R0404"
    inputs: tuple[tuple[str, str], ...]

    @property
    def title(self) -> str:
        """What is wrong."""
        shown = ", ".join(f"{name}: {kind}" for name, kind in self.inputs)
        return f"sampling needs a next-token model with one input of tokens; this one takes {shown}"
