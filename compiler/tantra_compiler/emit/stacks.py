"""Stacks of layers: how they are made, and the loop that runs them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tantra_compiler.emit.calls import Callables
from tantra_compiler.emit.expr import Expr, call, listing, statement
from tantra_compiler.emit.members import member
from tantra_dsl.graph.model import Body, BodyRef, Node, layer_bodies
from tantra_dsl.graph.stacks import Layers


def stack_constructor(stack: Node, callables: Callables) -> Expr:
    """Expression that makes the container of the stack's layers."""
    layers = Layers(stack)
    keys = [ref.key for ref, _ in _runs(stack)]
    if stack.attr("shared"):
        firsts = sorted({layers.first(key): key for key in keys}.items())
        items = ", ".join(f'"{index}": {callables.constructor(key)}' for index, key in firsts)
        return Expr(f"nn.ModuleDict({{{items}}})")
    made = [(callables.constructor(key), count) for key, count in _merged(layers, callables.constructor)]
    total = stack.attr("count")
    if len(made) == 1:
        return Expr(f"nn.ModuleList({made[0][0]} for _ in range({total}))")
    if layers.period >= total:
        return call("nn.ModuleList", listing(*(_several(kind, count) for kind, count in made)))
    return Expr(f"nn.ModuleList({_choice(made, layers.period)} for i in range({total}))")


def _runs(stack: Node) -> tuple[tuple[BodyRef, int], ...]:
    runs: tuple[tuple[BodyRef, int], ...] = stack.attr("runs")
    return runs


def _merged(layers: Layers, name: Callable[[str], str]) -> list[tuple[str, int]]:
    """One turn of the pattern, neighbours that ``name`` makes equal put together."""
    merged: list[tuple[str, int]] = []
    for key, count in layers.runs():
        if merged and name(merged[-1][0]) == name(key):
            merged[-1] = (merged[-1][0], merged[-1][1] + count)
        else:
            merged.append((key, count))
    return merged


def _several(kind: str, count: int) -> str:
    return kind if count == 1 else f"*({kind} for _ in range({count}))"


def _choice(made: list[tuple[str, int]], period: int) -> str:
    """``A() if i % 6 < 5 else B()``: which of the runs layer ``i`` belongs to."""
    text, end = made[-1][0], period - made[-1][1]
    for kind, count in reversed(made[:-1]):
        text = f"{kind} if i % {period} < {end} else {text}"
        end -= count
    return text


@dataclass
class StackLines:
    """Writes the lines that run a stack on ``values``: its stream and its extras."""

    callables: Callables
    body: Body
    node: Node
    values: list[Expr]
    cached: bool

    def __post_init__(self) -> None:
        self.graph = self.callables.source.graph
        self.extras = dict(zip(self.node.attr("extras"), self.values[1:], strict=True))
        self.container = member("self", self.node.attr("name"))
        self.keys = list(dict.fromkeys(ref.key for ref, _ in _runs(self.node)))

    def lines(self, target: str, indent: int) -> list[str]:
        """Lines after which ``target`` holds the stream behind the last layer."""
        pad = " " * indent
        start = [] if self.values[0].text == target else [f"{pad}{target} = {self.values[0].text}"]
        if self._tapped():
            return [*start, *self._unrolled(target, indent)]
        return [*start, *self._loop(target, indent)]

    def _tapped(self) -> bool:
        bodies = [self.graph.bodies[key] for key in self.keys]
        return any(body.taps or any(n.attr("kind") == "tap" for n in body.inputs) for body in bodies)

    def _arguments(self, key: str) -> tuple[str, ...]:
        """What a layer gets behind the stream."""
        names = [node.attr("name") for node in self.graph.bodies[key].inputs[1:]]
        passed = [self.extras[name].text for name in names]
        return (
            (*passed, "cache")
            if self.cached and self.callables.passes_cache(self.body, self.node, key)
            else tuple(passed)
        )

    def _loop(self, target: str, indent: int) -> list[str]:
        if self.node.attr("shared"):
            return self._shared_loop(target, indent)
        kinds: dict[tuple[str, ...], list[str]] = {}
        for key in self.keys:
            kinds.setdefault(self._arguments(key), []).append(self.callables.names[key])
        return [f"{' ' * indent}for layer in {self.container}:", *self._dispatch(target, kinds, indent + 4)]

    def _dispatch(self, target: str, kinds: dict[tuple[str, ...], list[str]], indent: int) -> list[str]:
        """The call of ``layer``; layers that take other arguments are told apart by their class."""
        pad, lines = " " * indent, list[str]()
        if len(kinds) == 1:
            return statement(f"{target} = ", call("layer", target, *next(iter(kinds))), indent)
        for number, (arguments, names) in enumerate(kinds.items()):
            kind = names[0] if len(set(names)) == 1 else f"({', '.join(sorted(set(names)))})"
            test = f"if isinstance(layer, {kind}):" if number < len(kinds) - 1 else "else:"
            lines.append(f"{pad}{'el' if 0 < number < len(kinds) - 1 else ''}{test}")
            lines += statement(f"{target} = ", call("layer", target, *arguments), indent + 4)
        return lines

    def _shared_loop(self, target: str, indent: int) -> list[str]:
        layers, total = Layers(self.node), self.node.attr("count")
        if len(self.keys) == 1:
            made = call(f'{self.container}["0"]', target, *self._arguments(self.keys[0]))
            return [f"{' ' * indent}for _ in range({total}):", *statement(f"{target} = ", made, indent + 4)]
        lines = []
        for key in layer_bodies(self.node):
            made = call(f'{self.container}["{layers.first(key)}"]', target, *self._arguments(key))
            lines += statement(f"{target} = ", made, indent)
        return lines

    # --- taps ------------------------------------------------------------------------------

    def _unrolled(self, target: str, indent: int) -> list[str]:
        """One line a layer; what later layers read has a name of its own."""
        lines = [f"{' ' * indent}{_tap_name(-1, '')} = {target}"] if self._reads(-1, "") else []
        stream = target
        for index, key in enumerate(layer_bodies(self.node)):
            body = self.graph.bodies[key]
            out = body.outputs[0][0]
            made = _tap_name(index, out) if self._reads(index, out) else target
            outs = [made, *(_tap_name(index, path) if self._reads(index, path) else "_" for path, _ in body.taps)]
            lines += statement(f"{', '.join(outs)} = ", self._layer_call(stream, index, key), indent)
            stream = made
        return lines

    def _reads(self, layer: int, path: str) -> bool:
        return any(
            n.attr("kind") == "tap" and n.attr("layer") == layer and (layer == -1 or n.attr("path") == path)
            for key in self.keys
            for n in self.graph.bodies[key].inputs
        )

    def _layer_call(self, stream: str, index: int, key: str) -> Expr:
        passed = [stream, *(self._argument(node) for node in self.graph.bodies[key].inputs[1:])]
        if self.cached and self.callables.passes_cache(self.body, self.node, key):
            passed.append("cache")
        place = f'"{Layers(self.node).first(key)}"' if self.node.attr("shared") else str(index)
        return call(f"{self.container}[{place}]", *passed)

    def _argument(self, node: Node) -> str:
        if node.attr("kind") == "tap":
            return _tap_name(node.attr("layer"), node.attr("path"))
        extra: str = self.extras[node.attr("name")].text
        return extra


def _tap_name(layer: int, path: str) -> str:
    return "stream_in" if layer == -1 else f"{path.replace('.', '_') or 'out'}_{layer}"
