"""W01 (weights that cannot be read), W02 (plans that cannot be carried out), W03 (where the result goes)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tantra_dsl.diagnostics.core import Diagnostic, Note

MOST = 12


def _notes(lines: tuple[str, ...]) -> tuple[Note, ...]:
    more = (f"and {len(lines) - MOST} more",) if len(lines) > MOST else ()
    return tuple(map(Note, (*lines[:MOST], *more)))


# --- W01: weights --------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class NoWeights(Diagnostic):
    """W0101: a path that holds neither a run nor weights."""

    code: ClassVar[str] = "W0101"
    path: str
    reason: str

    @property
    def title(self) -> str:
        return f"no weights at '{self.path}': {self.reason}"

    @property
    def help(self) -> str:
        return "give a run folder, a .safetensors file, or a folder of them"


@dataclass(frozen=True, kw_only=True)
class DamagedWeights(Diagnostic):
    """W0102: a file of weights that is not whole."""

    code: ClassVar[str] = "W0102"
    path: str
    reason: str

    @property
    def title(self) -> str:
        return f"weights in '{self.path}' are damaged: {self.reason}"

    @property
    def help(self) -> str:
        return "copy the file again; weights are read in the safetensors format"


@dataclass(frozen=True, kw_only=True)
class OtherWeights(Diagnostic):
    """W0103: weights that are not those of the model that they are said to be of."""

    code: ClassVar[str] = "W0103"
    path: str
    model: str
    differences: tuple[str, ...]
    fits_target: bool

    @property
    def title(self) -> str:
        return f"the weights in '{self.path}' are not those of {self.model}"

    @property
    def notes(self) -> tuple[Note, ...]:
        return _notes(self.differences)

    @property
    def help(self) -> str:
        if self.fits_target:
            return "they fit the model that they were to be migrated to: nothing needs to be done"
        return "name the spec that they were trained with by --from"


@dataclass(frozen=True, kw_only=True)
class UnknownOrigin(Diagnostic):
    """W0104: weights without a spec."""

    code: ClassVar[str] = "W0104"
    path: str

    @property
    def title(self) -> str:
        return f"nothing says which model the weights in '{self.path}' are of"

    @property
    def help(self) -> str:
        return "name its spec: --from SPEC"


# --- W02: plans ----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class NoRule(Diagnostic):
    """W0201: tensors of the new model that nothing of the old one tells how to make."""

    code: ClassVar[str] = "W0201"
    tensors: tuple[str, ...]
    count: int

    @property
    def title(self) -> str:
        return f"there is no rule for {self.count:,} {'tensor' if self.count == 1 else 'tensors'} of the new model"

    @property
    def notes(self) -> tuple[Note, ...]:
        return _notes(self.tensors)

    @property
    def help(self) -> str:
        return "--init-missing starts them as the new spec says"


@dataclass(frozen=True, kw_only=True)
class WouldLose(Diagnostic):
    """W0202: weights of the old model that have no place in the new one."""

    code: ClassVar[str] = "W0202"
    tensors: tuple[str, ...]

    @property
    def title(self) -> str:
        return "weights of the old model have no place in the new one"

    @property
    def notes(self) -> tuple[Note, ...]:
        return _notes(self.tensors)

    @property
    def help(self) -> str:
        return "--drop leaves them out"


@dataclass(frozen=True, kw_only=True)
class NoIdentity(Diagnostic):
    """W0203: further layers that no weights make pass on what they are given."""

    code: ClassVar[str] = "W0203"
    layers: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"no weights make these layers pass the stream on: {', '.join(self.layers)}"

    @property
    def notes(self) -> tuple[Note, ...]:
        return (Note("that needs a wiring whose result is the stream plus something that weights can make zero"),)

    @property
    def help(self) -> str:
        return "--layers stack makes them copies of other layers; the function is another one then"


# --- W03: the result -----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class OutputExists(Diagnostic):
    """W0301: something is already where the result is to go."""

    code: ClassVar[str] = "W0301"
    path: str

    @property
    def title(self) -> str:
        return f"'{self.path}' exists already"

    @property
    def help(self) -> str:
        return "choose another folder with --out: nothing is ever written over"


__all__ = [
    "DamagedWeights", "NoIdentity", "NoRule", "NoWeights", "OtherWeights", "OutputExists", "UnknownOrigin", "WouldLose",
]  # fmt: skip
