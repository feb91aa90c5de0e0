"""The lines of a forward function: one for each equation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from tantra_compiler.emit import (
    lower,
    lower_attention,
    lower_linear_loss,
    lower_map,
    lower_norms,
    lower_packed,
    lower_rope,
)
from tantra_compiler.emit.calls import Callables
from tantra_compiler.emit.expr import WIDTH, Expr, call, plain, several, statement
from tantra_compiler.emit.flow import Flow, Names, wanted_name
from tantra_compiler.emit.incremental import closure, groups_to_keep
from tantra_compiler.emit.kept import ATOMS, Groups
from tantra_compiler.emit.members import Weights, member
from tantra_compiler.emit.names import RESERVED, free
from tantra_compiler.emit.site import LOWERINGS, Site
from tantra_compiler.emit.stacks import StackLines
from tantra_dsl.graph.model import Body, Node, Ref
from tantra_dsl.graph.types import TensorType

LOWERED = frozenset(LOWERINGS) | ATOMS | {"call", "stack"}
"""Ops that can be written."""

_ = (lower, lower_attention, lower_linear_loss, lower_map, lower_norms, lower_packed, lower_rope)
_SHOWN = frozenset({"split_heads", "merge_heads", "patches", "unpatch", "concat", "split", "select", "pool", "attend"})


@dataclass
class Writer:
    """Writes the statements that compute some values of a body.

    ``given`` maps refs that have a value already to its name; ``cached`` tells whether a ``cache`` is in scope.
    """

    body: Body
    callables: Callables
    weights: Weights
    cached: bool
    given: Mapping[Ref, str] = field(default_factory=dict)
    indent: int = 8
    avoid: set[str] = field(default_factory=set)

    def lines(self, wanted: Iterable[Ref], wrap: str = "") -> list[str]:
        """Lines that compute ``wanted`` and return it, several values in a tuple or in a call of ``wrap``."""
        refs, hoisted = tuple(wanted), frozenset[str]()
        given, kept = frozenset(ref.node for ref in self.given), self._kept_groups(refs)
        while True:
            self.callables.source.globals_read.clear()
            attempt = _Attempt(self, Flow(self.body, refs, given, hoisted, kept))
            lines = attempt.write(wrap)
            shadowed = attempt.names.assigned & self.callables.source.globals_read
            if attempt.too_long is None and not shadowed:
                return lines
            self.avoid |= shadowed
            hoisted |= {attempt.too_long} if attempt.too_long is not None else frozenset()

    def _kept_groups(self, refs: tuple[Ref, ...]) -> Groups:
        running = closure(self.body, refs)
        return groups_to_keep(self.body, running, self.callables.source.incremental) if self.cached else {}


class _Attempt:
    """One try at the lines; ``too_long`` names a node that needs a line of its own."""

    def __init__(self, writer: Writer, flow: Flow) -> None:
        self.writer = writer
        self.flow = flow
        self.body = writer.body
        self.source = writer.callables.source
        self.names = Names(RESERVED | writer.avoid)
        self.inside: dict[str, str] = {}
        self.too_long: str | None = None
        self.out: list[str] = []
        for ref, name in writer.given.items():
            self.names.hold(ref, name, flow.last_use(ref.node))

    def write(self, wrap: str) -> list[str]:
        for line in self.flow.lines:
            if line[0].op == "stack" and line[0].id not in self.flow.kept:
                self._stack(line[0])
            else:
                self._assign(line)
        self.inside = {}
        results = [self.value(ref) for ref in self.flow.wanted]
        self._put("return ", call(wrap, *results) if wrap else several(*results), "")
        return self.out

    def _put(self, start: str, value: Expr, comment: str) -> None:
        lines = statement(start, value, self.writer.indent, comment)
        if (len(lines) == 1 and len(lines[0]) <= WIDTH) or not self._shorten(len(start)):
            self.out += lines

    def _shorten(self, start: int) -> bool:
        """Choose the largest inner value that fits a line; False where there is none."""
        room = WIDTH - self.writer.indent - start - 8
        sizes = {id: len(text) for id, text in self.inside.items() if len(text) > 24}
        if not sizes:
            return False
        self.too_long = max(sizes, key=lambda id: (sizes[id] <= room, sizes[id]))
        return True

    def _assign(self, line: list[Node]) -> None:
        self.inside = {}
        values = [self.expr(node) for node in line]
        number = max(map(self.flow.place, line))
        targets = [self._target(node, number) for node in line]
        comment = shape_comment(line[0].types[0]) if self._worth_showing(line) else ""
        self._put(f"{', '.join(targets)} = ", several(*values), comment)

    def _worth_showing(self, line: list[Node]) -> bool:
        return len(line) == 1 and line[0].op in _SHOWN and bool(line[0].types)

    def _target(self, node: Node, number: int) -> str:
        used = self._outs_used(node)
        return ", ".join(
            self.names.assign(
                Ref(node.id, out), wanted_name(node, out), number, self.flow.last_use_of(Ref(node.id, out))
            )
            if out in used
            else "_"
            for out in range(len(node.types))
        )

    def _outs_used(self, node: Node) -> set[int]:
        refs = [ref for other in self.flow.nodes for ref in other.inputs] + list(self.flow.wanted)
        return {ref.out for ref in refs if ref.node == node.id}

    def _stack(self, node: Node) -> None:
        number = self.flow.place(node)
        self.inside = {}
        values = [self.value(ref) for ref in node.inputs]
        for name in {value.text for value in values[1:]} & set(self.names.of.values()):
            self.names.keep(name, number)
        target = self.names.assign(Ref(node.id), node.target or "x", number, self.flow.last_use(node.id))
        stack = StackLines(self.writer.callables, self.body, node, values, self.writer.cached)
        self.out += stack.lines(target, self.writer.indent)

    # --- values --------------------------------------------------------------------------

    def value(self, ref: Ref) -> Expr:
        """Expression for ``ref``: its name, or the op itself where it is written inside."""
        if ref in self.names.of:
            return Expr(self.names.of[ref])
        node = self.body.node(ref.node)
        if node.op in ("param", "instance"):
            return Expr(member("self", node.attr("name")))
        if node.op == "weight":
            return Expr(member(self.value(node.inputs[0]).text, node.attr("path")))
        expr = self.expr(node)
        self.inside[node.id] = expr.text
        return expr

    def expr(self, node: Node) -> Expr:
        """``node`` applied to the values of its operands."""
        return self._kept(node) if node.id in self.flow.kept else self._applied(node)

    def _kept(self, node: Node) -> Expr:
        """``node`` and what serves it alone, computed in the first call on a cache: in place or in a local function."""
        read = self.source.globals_read.copy()
        given = {ref: name for ref, name in self.names.of.items() if ref.node not in self.flow.kept[node.id]}
        inner = replace(
            self.writer, cached=False, given=given, indent=self.writer.indent + 4, avoid=set(given.values())
        )
        lines = inner.lines([Ref(node.id, out) for out in range(len(node.types))])
        self.source.globals_read |= read
        once = self.source.use("once")
        if len(lines) == 1 and len(lines[0]) <= WIDTH - 24:
            return call(once, "cache", f"lambda: {lines[0].strip().removeprefix('return ')}")
        pad, name = " " * self.writer.indent, free(f"make_{wanted_name(node, 0)}", RESERVED)
        is_first = not self.out and self.body.key != self.source.graph.root
        self.out += [*([] if is_first else [""]), f"{pad}def {name}() -> {_returned(node)}:", *lines, ""]
        return call(once, "cache", name)

    def _applied(self, node: Node) -> Expr:
        layer = self.writer.weights.layer_of(node)
        if layer is not None:
            return call(member("self", layer.path), self.value(node.inputs[0]))
        args = tuple(self.value(ref) for ref in node.inputs)
        if node.op == "call":
            return self.writer.callables.call(self.body, node, args, self.writer.cached)
        return LOWERINGS[node.op](Site(self.source, self.body, node, args, self.writer.cached))


def _returned(node: Node) -> str:
    return "Tensor" if len(node.types) == 1 else f"tuple[{', '.join(['Tensor'] * len(node.types))}]"


def shape_comment(type: TensorType) -> str:
    """A type as its named dimensions, with the extents that are known."""
    parts = [d.name if d.size.known is None else f"{d.name}={d.size.known}" for d in type.dims]
    return plain(f"[{', '.join(parts)}]")
