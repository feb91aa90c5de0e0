"""Scalar programs: masks, scores, activations and tables as small expression trees.

A program is resolved: hyper-parameters are folded into constants, named definitions are inlined.
What is left is arithmetic over coordinates and run-time values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ScalarOp = Literal[
    "add", "sub", "mul", "div", "floordiv", "mod", "pow", "neg",
    "abs", "min", "max", "exp", "log", "log2", "sqrt", "tanh", "sigmoid", "softplus", "erf", "sin", "cos",
    "floor", "lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not", "where",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Const:
    """A literal: int, float or bool."""

    value: int | float | bool


@dataclass(frozen=True, slots=True)
class Var:
    """A variable of the program: a coordinate (``q``, ``k``, ``b``, ``h``), the score ``s``, or an argument.

    ``q`` and ``k`` are absolute positions, ``b`` the sequence in the batch, ``h`` the query head.
    ``queries`` and ``keys`` are the lengths.
    """

    name: str


@dataclass(frozen=True, slots=True)
class Op:
    """An operation; ``where`` is (condition, then, otherwise). ``floordiv`` and ``mod`` round down, as in Python."""

    op: ScalarOp
    args: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Gather:
    """Reads element ``index`` of the program's capture number ``capture``, as in ``doc[q]`` or ``table[bucket, h]``.

    A per-token field is captured as a ``[batch, time]`` tensor and read with (b, position); a per-sequence
    one as ``[batch]`` and read with (b,); a learned table with the indices written.
    """

    capture: int
    index: tuple[Scalar, ...]


Scalar = Const | Var | Op | Gather


@dataclass(frozen=True, slots=True)
class Capture:
    """A tensor that a program reads: a batch field, or a learned table (``learned``)."""

    name: str
    learned: bool = False
    integer: bool = False


@dataclass(frozen=True, slots=True)
class Program:
    """A resolved scalar program.

    ``kind``: ``mask`` (variables q k b h, gives a truth value), ``score`` (those and s), ``fn``
    (its own arguments, in order), ``frequency`` (j), ``table`` (p, c). ``name`` is for people: the
    text as written; it takes no part in what the program means.
    """

    kind: Literal["mask", "score", "fn", "frequency", "table"]
    variables: tuple[str, ...]
    body: Scalar
    captures: tuple[Capture, ...] = ()
    name: str = ""
