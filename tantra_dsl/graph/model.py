"""The graph: frozen nodes in bodies, a body per distinct block.

A body is a straight list of nodes in topological order. Structure is in four ops:

- ``input``: attrs ``name``, ``kind``. Kinds: ``tensor``; ``param`` (a weight owned further out); ``module`` (a body
  instance owned further out; its type list is empty); ``tap`` (a tensor of an earlier layer of the enclosing stack;
  attrs ``layer`` = an int, the absolute index, or -1 for the stack's own input; ``path``). In the root body all
  inputs are ``tensor`` and carry attr ``spec``, an ``InputSpec``.
- ``param``: attrs ``name`` (its path below this body, e.g. ``q.weight``), ``init`` (an ``Init``), ``decay`` (bool:
  whether weight decay applies). Its single output type is the weight's. With attr ``trained`` = False it is state
  that no gradient reaches (a buffer): in the ``state_dict``, but not among the parameters.
- ``call``: attrs ``body`` (a ``BodyRef``), ``name`` (path part of the instance, e.g. ``attention``) and ``instance``:
  ``own`` (the weights live here, under ``name``) or ``given`` (the first input is a ``module`` node and the weights
  live there; the remaining inputs are the arguments). Inputs match the body's ``input`` nodes in order.
- ``instance``: creates a shared body instance called ``name`` (attr ``body``) without calling it; output is a module.
- ``weight``: a weight of a shared instance as a tensor, e.g. a tied embedding: its input is an ``instance`` node (or
  a ``module`` input), attr ``path`` the weight's path below the instance (``tokens.weight``).
- ``stack``: applies layers one after another to a stream. attrs: ``name``, ``runs`` (tuple of (BodyRef, count): the
  pattern), ``count`` (total; the pattern is cycled to it), ``shared`` (True: layers with the same BodyRef have one
  set of weights, stored under ``name.<index of first use>``), ``extras`` (names of inputs 1..). inputs: (x, *extras).
  Each layer body has input ``x`` first, then ``input`` nodes whose ``name`` picks an extra, or ``tap`` inputs.
  Weights of layer ``i`` live under ``name.i``.

A body may have ``taps``; every call of it then gives them as further outputs, after its own, and the call's ``types``
list them.

Weight paths are the dotted join of names from the root, and are the ``state_dict`` keys of the compiled module. All
other ops are primitives and are described in ``graph/ops.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tantra_dsl.graph.types import TensorType
from tantra_dsl.scalars.ir import Program
from tantra_dsl.syntax.source import NOWHERE, Span


@dataclass(frozen=True, slots=True)
class Ref:
    """Output number ``out`` of node ``node`` of the same body."""

    node: str
    out: int = 0


@dataclass(frozen=True, slots=True)
class BodyRef:
    """Names a body of the graph."""

    key: str


@dataclass(frozen=True, slots=True)
class Init:
    """How a weight starts: ``kind`` and ``values``.

    ``normal`` (mean, std), ``truncated_normal`` (mean, std, low, high in units of std), ``uniform`` (low, high),
    ``constant`` (value), ``xavier_uniform`` (gain), ``xavier_normal`` (gain), ``kaiming_uniform`` (a),
    ``identity`` (), ``values`` (the listed numbers, flat).
    """

    kind: str
    values: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a root input holds.

    ``kind``: ``tokens`` (int[batch, time], below ``limit``), ``labels`` (the same, -100 = ignore), ``ids``
    (int[batch, time]
    below ``limit``), ``per_token`` (int[batch, time] field), ``per_sequence`` (int[batch] field), ``class``
    (int[batch] below
    ``limit``), ``pixels`` (float[batch, channels, height, width]), ``features`` (float[batch, time, width]).
    """

    kind: str
    limit: int | None = None


Attr = int | float | str | bool | None | Program | Init | BodyRef | InputSpec | tuple["Attr", ...]


@dataclass(frozen=True, slots=True)
class Node:
    """One operation. ``id`` is unique in its body and readable.

    ``equation`` numbers the statement of the body that the node belongs to (for emission: one line per equation) and
    ``target`` is the variable that the equation assigns the node's value to, where it does (``a, b`` for two outputs).
    """

    id: str
    op: str
    inputs: tuple[Ref, ...]
    attrs: tuple[tuple[str, Attr], ...]
    types: tuple[TensorType, ...]
    equation: int | None = None
    target: str | None = None
    origin: Span = field(default=NOWHERE, compare=False, repr=False)

    def attr(self, name: str, default: Any = None) -> Any:
        """Value of attribute ``name``, or ``default``."""
        for key, value in self.attrs:
            if key == name:
                return value
        return default

    @property
    def type(self) -> TensorType:
        """Type of the only output."""
        return self.types[0]


@dataclass(frozen=True, slots=True)
class Body:
    """The resolved content of a module, block or model: inputs, equations, outputs.

    ``key`` is unique in the graph; ``definition`` is the name in the language (``attention``). ``outputs`` pairs a
    name with
    a ref: a module's results (``out`` when single); in the root, ``output`` (or the names returned) and ``loss``.
    ``taps`` are tensors that later layers of a stack read, by path.
    """

    key: str
    definition: str
    nodes: tuple[Node, ...]
    outputs: tuple[tuple[str, Ref], ...]
    taps: tuple[tuple[str, Ref], ...] = ()
    origin: Span = field(default=NOWHERE, compare=False, repr=False)

    def node(self, id: str) -> Node:
        """The node called ``id``. Raises KeyError."""
        for node in self.nodes:
            if node.id == id:
                return node
        raise KeyError(id)

    def type_of(self, ref: Ref) -> TensorType:
        """Type of what ``ref`` refers to."""
        return self.node(ref.node).types[ref.out]

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The input nodes, in order."""
        return tuple(node for node in self.nodes if node.op == "input")


@dataclass(frozen=True, slots=True)
class Graph:
    """A model: its bodies by key, and which is the root.

    ``name`` is the model's; ``facts`` are the model's own figures that bound its use: ``context``, ``vocab``, ``dim``
    where set. Every body is reachable from the root.
    """

    name: str
    root: str
    bodies: Mapping[str, Body]
    facts: tuple[tuple[str, int], ...] = ()

    @property
    def main(self) -> Body:
        """The root body."""
        return self.bodies[self.root]

    def fact(self, name: str) -> int | None:
        """A fact of the model, or None where it sets none."""
        return dict(self.facts).get(name)

    def body_of(self, node: Node) -> Body:
        """The body that a ``call`` or ``instance`` node uses."""
        return self.bodies[node.attr("body").key]


def layer_bodies(stack: Node) -> Iterator[str]:
    """Body keys of the stack's layers in order, one per layer."""
    runs: tuple[tuple[BodyRef, int], ...] = stack.attr("runs")
    remaining: int = stack.attr("count")
    while remaining > 0:
        for ref, count in runs:
            for _ in range(min(count, remaining)):
                yield ref.key
            remaining -= min(count, remaining)


def layer_counts(stack: Node) -> dict[str, int]:
    """How many layers of the stack use each body; costs what the pattern costs, not what the layers cost."""
    runs: tuple[tuple[BodyRef, int], ...] = stack.attr("runs")
    total: int = stack.attr("count")
    period = sum(count for _, count in runs)
    whole, rest = divmod(total, period)
    counts: dict[str, int] = {}
    for ref, count in runs:
        extra = min(count, rest)
        rest -= extra
        counts[ref.key] = counts.get(ref.key, 0) + whole * count + extra
    return counts
