"""What an expression can mean while a model is built."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from tantra_dsl.graph.model import Init, Ref
from tantra_dsl.graph.types import TensorType
from tantra_dsl.syntax import tree
from tantra_dsl.syntax.source import NOWHERE, Span

if TYPE_CHECKING:
    from tantra_dsl.semantics.frame import Frame
    from tantra_dsl.semantics.primitives import Primitive
    from tantra_dsl.semantics.scope import Scope, Thunk


class Poison:
    """Stands for what could not be computed; whatever meets it stays silent, so a mistake is told once."""

    def __repr__(self) -> str:
        return "POISON"


POISON = Poison()


@dataclass(frozen=True, slots=True)
class Symbol:
    """A word that means itself: a choice of an enumerated parameter (``one_plus``), or a kind of input."""

    name: str


@dataclass(frozen=True, slots=True)
class InputType:
    """The type of an ``input``: a kind and its figures, such as ``pixels[3, 224, 224]``."""

    kind: str
    figures: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A value of the model that will exist at run time: an output of a node in ``frame``'s body."""

    ref: Ref
    frame: Frame

    @property
    def type(self) -> TensorType:
        """Its type."""
        return self.frame.builder.type_of(self.ref)


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """An argument that was given: where it was written and how to get at it."""

    thunk: Thunk
    name: str | None
    hyper: bool
    span: Span = NOWHERE


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """Something that can be called, with the arguments it was given so far.

    ``choice`` is the word that stood for it where a parameter offers words: ``linear`` for ``scaling_linear``.
    """

    name: str
    definition: tree.Definition | None = None
    primitive: Primitive | None = None
    scope: Scope | None = None
    arguments: tuple[Bound, ...] = ()
    span: Span = NOWHERE
    choice: str = ""

    @property
    def kind(self) -> str:
        """``module``, ``block``, ``wiring``, ``mask``, ``score``, ``fn`` or ``primitive``."""
        return self.definition.kind if self.definition is not None else "primitive"


@dataclass(frozen=True, slots=True, eq=False)
class Sum:
    """The sum of modules, as in ``tokens + learned_positions``: each is applied to the input, the results are added."""

    parts: tuple[Any, ...]
    span: Span = NOWHERE


@dataclass(frozen=True, slots=True, eq=False)
class Combination:
    """Masks or scores put together by an operator; it means what its expression means in ``scope``."""

    expr: tree.Expr
    scope: Scope
    frame: Frame


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Layers one after another: a pattern of (block, count), cycled to ``total`` layers."""

    pattern: tuple[tuple[Any, int], ...]
    total: int
    shared: bool = False
    span: Span = NOWHERE


@dataclass(slots=True, eq=False)
class Instance:
    """One set of weights that several places use (``share``). Built when it is first called."""

    name: str
    function: Any
    owner: Frame
    span: Span = NOWHERE
    ref: Ref | None = None
    body: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class LayerPath:
    """A reference into a stack: ``layers[i - 1].attention.k`` or ``outputs[0..i]``."""

    stack: Any
    layers: tuple[int, ...]
    many: bool
    path: tuple[str, ...] = ()
    outputs: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class StackName:
    """``layers`` or ``outputs`` inside a layer, before an index is written behind it."""

    stack: Any
    outputs: bool


@dataclass(frozen=True, slots=True)
class Range:
    """``a..b``, both ends included."""

    start: int
    stop: int


Number = int | float | Fraction
Value = Any


def is_number(value: Value) -> bool:
    """Whether a value is a plain number (a truth value is not)."""
    return isinstance(value, int | float | Fraction) and not isinstance(value, bool)


def is_callable(value: Value) -> bool:
    """Whether a value can stand where a module is expected."""
    return isinstance(value, Function | Sum | Instance)


def describe(value: Value) -> str:
    """What a value is, for messages."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"the truth value {str(value).lower()}"
    if is_number(value):
        text = plain(value)
        return f"the number {text}" + (".0" if not isinstance(value, int) and text.lstrip("-").isdigit() else "")
    if isinstance(value, Function):
        return f"the {value.kind} {value.name}"
    if isinstance(value, Tensor):
        return f"a tensor {value.type}"
    return _describe_other(value)


def _describe_other(value: Value) -> str:
    names = {
        str: f"the text {value!r}", tuple: "a list", Stack: "a stack of layers", Sum: "a sum of modules",
        Instance: "a shared module", Init: "an initialisation", Combination: "a mask or score",
        InputType: "an input type",
        Range: "a range", LayerPath: "a reference to a layer",
    }  # fmt: skip
    if isinstance(value, Symbol):
        return f"the word {value.name}"
    return names.get(type(value), type(value).__name__)


def plain(value: Number) -> str:
    """A number as a person would write it."""
    if isinstance(value, Fraction):
        return str(value.numerator) if value.denominator == 1 else f"{value.numerator}/{value.denominator}"
    return f"{value:g}" if isinstance(value, float) else str(value)
