"""Stacks of layers: how they are made, and the loop that runs them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tantra_compiler.emit.calls import Callables
from tantra_compiler.emit.expr import Expr
from tantra_compiler.emit.members import member
from tantra_dsl.graph.model import BodyRef, Node, layer_bodies
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
        return Expr(f"nn.ModuleList([{', '.join(_several(kind, count) for kind, count in made)}])")
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
    node: Node
    values: list[Expr]
    cached: bool

    def __post_init__(self) -> None:
        self.graph = self.callables.source.graph
        self.extras = dict(zip(self.node.attr("extras"), self.values[1:], strict=True))
        self.container = member("self", self.node.attr("name"))
        self.keys = list(dict.fromkeys(ref.key for ref, _ in _runs(self.node)))

    def kept_lines(self, target: str, indent: int) -> list[str]:
        """The stack as something that is run once and kept while decoding."""
        pad, name = " " * indent, f"{target}_layers"
        body = StackLines(self.callables, self.node, self.values, False).lines(target, indent + 4)
        once = self.callables.source.use("once")
        return [f"{pad}def {name}() -> Tensor:", *body, f"{pad}    return {target}", "", f"{pad}{target} = {once}(cache, {name})"]

    def lines(self, target: str, indent: int) -> list[str]:
        """Lines after which ``target`` holds the stream behind the last layer."""
        pad = " " * indent
        if self._tapped():
            return [pad + line for line in self._unrolled(target)]
        start = [] if self.values[0].text == target else [f"{target} = {self.values[0].text}"]
        return [pad + line for line in [*start, *self._loop(target)]]

    def _tapped(self) -> bool:
        bodies = [self.graph.bodies[key] for key in self.keys]
        return any(body.taps or any(n.attr("kind") == "tap" for n in body.inputs) for body in bodies)

    def _arguments(self, key: str) -> str:
        """What a layer gets behind the stream."""
        names = [node.attr("name") for node in self.graph.bodies[key].inputs[1:]]
        passed = [self.extras[name].text for name in names]
        if self.cached and self.callables.takes_cache(key):
            passed.append("cache")
        return "".join(f", {text}" for text in passed)

    def _loop(self, target: str) -> list[str]:
        if self.node.attr("shared"):
            return self._shared_loop(target)
        kinds: dict[str, list[str]] = {}
        for key in self.keys:
            kinds.setdefault(self._arguments(key), []).append(self.callables.names[key])
        return [f"for layer in {self.container}:", f"    {target} = {self._dispatch(target, kinds)}"]

    def _dispatch(self, target: str, kinds: dict[str, list[str]]) -> str:
        """The call of ``layer``; layers that take other arguments are told apart by their class."""
        cases = [(f"layer({target}{arguments})", sorted(set(names))) for arguments, names in kinds.items()]
        text = cases[-1][0]
        for made, names in reversed(cases[:-1]):
            kind = names[0] if len(names) == 1 else f"({', '.join(names)})"
            text = f"{made} if isinstance(layer, {kind}) else {text}"
        return text

    def _shared_loop(self, target: str) -> list[str]:
        layers, total = Layers(self.node), self.node.attr("count")
        if len(self.keys) == 1:
            call = f'{self.container}["0"]({target}{self._arguments(self.keys[0])})'
            return [f"for _ in range({total}):", f"    {target} = {call}"]
        lines = []
        for key in layer_bodies(self.node):
            lines.append(f'{target} = {self.container}["{layers.first(key)}"]({target}{self._arguments(key)})')
        return lines

    # --- taps ------------------------------------------------------------------------------

    def _unrolled(self, target: str) -> list[str]:
        """One line a layer; what later layers read has a name of its own."""
        start = f"{target} = {self.values[0].text}"
        lines = [] if self.values[0].text == target else [start]
        if self._reads(-1, ""):
            lines.append(f"{self._tap_name(-1, '')} = {target}")
        for index, key in enumerate(layer_bodies(self.node)):
            lines.append(self._layer_line(target, index, key))
        return lines

    def _reads(self, layer: int, path: str) -> bool:
        return any(
            n.attr("kind") == "tap" and n.attr("layer") == layer and (layer == -1 or n.attr("path") == path)
            for key in self.keys
            for n in self.graph.bodies[key].inputs
        )

    def _tap_name(self, layer: int, path: str) -> str:
        if layer == -1:
            return "stream_in"
        return f"{path.replace('.', '_') or 'out'}_{layer}"

    def _layer_line(self, target: str, index: int, key: str) -> str:
        body = self.graph.bodies[key]
        passed = [target]
        for node in body.inputs[1:]:
            if node.attr("kind") == "tap":
                passed.append(self._tap_name(node.attr("layer"), node.attr("path")))
            else:
                passed.append(self.extras[node.attr("name")].text)
        if self.cached and self.callables.takes_cache(key):
            passed.append("cache")
        place = Layers(self.node).first(key) if self.node.attr("shared") else index
        item = f'"{place}"' if self.node.attr("shared") else str(place)
        outs = [target, *(self._tap_name(index, path) if self._reads(index, path) else "_" for path, _ in body.taps)]
        return f"{', '.join(outs)} = {self.container}[{item}]({', '.join(passed)})"
