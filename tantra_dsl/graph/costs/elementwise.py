"""What the backward pass of an elementwise program reads, operation by operation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Final

from tantra_dsl.scalars.evaluate import evaluate
from tantra_dsl.scalars.ir import Const, Op, Program, Scalar, Var
from tantra_dsl.scalars.walk import depth_and_size, fold, variables_of

Shape = tuple[int, ...]
Saved = frozenset[Scalar]


@dataclass(frozen=True, slots=True)
class ProgramSaves:
    """Operands kept (by number), whether the result is kept, and how many numbers of steps in between."""

    inputs: tuple[int, ...]
    output: bool
    elements: int


def saved_by_program(program: Program, shapes: Sequence[Shape], grads: Sequence[bool]) -> ProgramSaves:
    """What is kept when ``program`` is applied to operands of these shapes; ``grads`` says where gradients flow."""
    names = {name: place for place, name in enumerate(program.variables)}
    flows = frozenset(name for name, place in names.items() if grads[place])
    kept = kept_parts(program.body, flows)
    inputs = sorted({names[part.name] for part in kept if isinstance(part, Var)})
    between = [part for part in kept if not isinstance(part, Var) and part != program.body]
    elements = sum(_size([shapes[names[name]] for name in variables_of(part) & set(names)]) for part in between)
    return ProgramSaves(tuple(inputs), program.body in kept, elements)


def _size(shapes: list[Shape]) -> int:
    """Elements of the common shape of operands aligned from the right."""
    rank = max(map(len, shapes), default=0)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return prod(max(extents) for extents in zip(*padded, strict=True))


@lru_cache(maxsize=1024)
def kept_parts(body: Scalar, flows: frozenset[str]) -> Saved:
    """Parts of ``body`` whose values the backward pass reads; gradients flow into the variables in ``flows``."""
    kept: set[Scalar] = set()
    pending = [body]
    while pending:
        part = pending.pop()
        if not isinstance(part, Op) or not variables_of(part) & flows:
            continue
        function = _known_function(part)
        if function is not None:
            kept.add(part if function in _RESULT_OF_FUNCTION else Var(*variables_of(part)))
            continue
        kept.update(read for read in _read_by(part, flows) if not isinstance(read, Const) and variables_of(read))
        pending.extend(part.args)
    return frozenset(kept)


def _read_by(part: Op, flows: frozenset[str]) -> list[Scalar]:
    """What the gradient of one operation reads."""
    args, moving = part.args, [bool(variables_of(arg) & flows) for arg in part.args]
    if part.op in ("mul", "div") and len(args) == 2:
        return _read_by_product(part.op, args, moving)
    if part.op == "mul":
        return [arg for place, arg in enumerate(args) if any(moving[:place] + moving[place + 1 :])]
    if part.op == "pow":
        return [args[0], *(() if isinstance(args[1], Const) else (args[1], part))]
    if part.op in _OPERAND:
        return [args[0]]
    if part.op in _RESULT:
        return [part]
    if part.op in ("min", "max"):
        return [arg for arg in args if not isinstance(arg, Const)]
    return [args[0]] if part.op == "where" else []


def _read_by_product(op: str, args: tuple[Scalar, ...], moving: list[bool]) -> list[Scalar]:
    first, second = args
    if op == "mul":
        return [read for read, other in ((first, moving[1]), (second, moving[0])) if other]
    return [second, *([first] if moving[1] else [])]


_OPERAND: Final = frozenset({"abs", "log", "log2", "sin", "cos", "softplus", "erf"})
_RESULT: Final = frozenset({"exp", "sqrt", "tanh", "sigmoid"})

# --- functions that torch has whole ----------------------------------------------------------


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


_FUNCTIONS: Final[dict[str, Callable[[float], float]]] = {
    "gelu": lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x * _sigmoid(x),
    "relu": lambda x: max(x, 0.0),
    "sigmoid": _sigmoid,
    "softplus": lambda x: math.log1p(math.exp(x)),
}
_RESULT_OF_FUNCTION: Final = frozenset({"relu", "sigmoid"})
_POINTS: Final = (-3.1, -1.3, -0.2, 0.4, 1.7, 2.9)
_LARGEST = 60


@lru_cache(maxsize=1024)
def _known_function(part: Scalar) -> str | None:
    """The function of torch that ``part`` is, told by its values at a few points: torch keeps one tensor for it."""
    names = variables_of(part)
    if len(names) != 1 or depth_and_size(part)[1] > _LARGEST or not _is_plain(part):
        return None
    (name,) = names
    try:
        values = [float(evaluate(part, {name: point})) for point in _POINTS]
    except (ZeroDivisionError, LookupError):
        return None
    for function, compute in _FUNCTIONS.items():
        if all(math.isclose(v, compute(p), rel_tol=1e-7, abs_tol=1e-9) for v, p in zip(values, _POINTS, strict=True)):
            return function
    return None


def _is_plain(part: Scalar) -> bool:
    """Whether ``part`` reads no tensor but its variables."""
    return fold(part, lambda scalar, inner: isinstance(scalar, (Const, Var, Op)) and all(inner))
