"""The graph as text that a person can read and ``parse_graph`` can read back.

One line per node, ``id: types = op(inputs, attributes) @equation:target``::

    graph tiny {
      root main
      facts context=1024

      body main of model {
        tokens: int[batch, time] = input(kind="tensor", name="tokens", spec=spec tokens(256))
        table: [vocab=256, dim=8] = param(decay=true, init=init normal(0.0, 0.02), name="embed.weight")
        x: [batch, time, dim=8] = embedding(tokens, table) @0:x
        return output=x
      }
    }

Origins are left out; everything else is kept.
"""

from __future__ import annotations

import json

from tantra_dsl.graph.infix import IDENTIFIER, format_scalar, name_text, number_text
from tantra_dsl.graph.model import Attr, Body, BodyRef, Graph, Init, InputSpec, Node, Ref
from tantra_dsl.graph.reader import parse_graph
from tantra_dsl.graph.types import Dim, Size, TensorType
from tantra_dsl.scalars.ir import Program

__all__ = ["format_body", "format_graph", "format_node", "format_program", "parse_graph"]


def format_graph(graph: Graph) -> str:
    """The whole graph as text; ``parse_graph`` gives an equal graph back."""
    lines = [f"graph {name_text(graph.name)} {{", f"  root {name_text(graph.root)}"]
    if graph.facts:
        lines.append("  facts " + ", ".join(f"{name_text(name)}={value}" for name, value in graph.facts))
    for body in graph.bodies.values():
        lines += ["", *(f"  {line}" for line in format_body(body).splitlines())]
    return "\n".join([*lines, "}", ""])


def format_body(body: Body) -> str:
    """One body as text."""
    lines = [f"body {name_text(body.key)} of {name_text(body.definition)} {{"]
    lines += [f"  {format_node(node)}" for node in body.nodes]
    lines.append(f"  return {_bindings(body.outputs)}".rstrip())
    if body.taps:
        lines.append(f"  taps {_bindings(body.taps)}")
    return "\n".join([*lines, "}"])


def format_node(node: Node) -> str:
    """One node as a line: ``q: [batch, time, heads=12, head_dim=64] = split_heads(q.linear, heads=12)``."""
    types = ", ".join(map(_type, node.types))
    operands = [_ref(ref) for ref in node.inputs]
    operands += [f"{_attr_name(name)}={_attr(value)}" for name, value in node.attrs]
    head = f"{name_text(node.id)}: {types}" if types else name_text(node.id)
    return f"{head} = {name_text(node.op)}({', '.join(operands)}){_equation(node)}"


def format_program(program: Program) -> str:
    """A scalar program with its variables and captures: ``mask(q, k, b, h) {k <= q} as "causal"``."""
    variables = ", ".join(name_text(variable) for variable in program.variables)
    captures = [_capture(held.name, held.learned, held.integer) for held in program.captures]
    listed = f"; {', '.join(captures)}" if captures else ""
    name = f" as {json.dumps(program.name)}" if program.name else ""
    return f"{program.kind}({variables}{listed}) {{{format_scalar(program)}}}{name}"


def _capture(name: str, learned: bool, integer: bool) -> str:
    flags = [flag for flag, is_set in (("learned", learned), ("int", integer)) if is_set]
    return f"{name_text(name)}: {' '.join(flags)}" if flags else name_text(name)


def _bindings(pairs: tuple[tuple[str, Ref], ...]) -> str:
    return ", ".join(f"{name_text(name)}={_ref(ref)}" for name, ref in pairs)


def _ref(ref: Ref) -> str:
    return f"{name_text(ref.node)}[{ref.out}]" if ref.out else name_text(ref.node)


def _equation(node: Node) -> str:
    if node.equation is None and node.target is None:
        return ""
    number = "-" if node.equation is None else str(node.equation)
    return f" @{number}" if node.target is None else f" @{number}:{name_text(node.target)}"


def _type(type: TensorType) -> str:
    dims = f"[{', '.join(map(_dim, type.dims))}]"
    return dims if type.dtype == "float" else f"{type.dtype}{dims}"


def _dim(dim: Dim) -> str:
    name = name_text(dim.name)
    return name if dim.size == Size.symbol(dim.name) else f"{name}={_size(dim.size)}"


def _size(size: Size) -> str:
    parts = [name_text(symbol) if factor == 1 else f"{factor} * {name_text(symbol)}" for symbol, factor in size.terms]
    if size.constant or not parts:
        parts.append(str(size.constant))
    return " + ".join(parts)


def _attr_name(name: str) -> str:
    """Bare even where it is a reserved word: the ``=`` behind it tells it apart."""
    return name if IDENTIFIER.match(name) else json.dumps(name)


def _attr(value: Attr) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_attr, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, str):
        return json.dumps(value)
    if value is None:
        return "none"
    if isinstance(value, (bool, int, float)):
        return number_text(value)
    return _record(value)


def _record(value: Program | Init | BodyRef | InputSpec) -> str:
    if isinstance(value, Program):
        return format_program(value)
    if isinstance(value, Init):
        return f"init {name_text(value.kind)}({', '.join(map(number_text, value.values))})"
    if isinstance(value, BodyRef):
        return f"@{name_text(value.key)}"
    return f"spec {name_text(value.kind)}" + ("" if value.limit is None else f"({value.limit})")
