"""What a module is, in a few short lines, read from its equations and never from its name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tantra_dsl.draw.picture import Kind
from tantra_dsl.draw.words import heads_text, number, program_text, rope_text, sizes_text
from tantra_dsl.graph.model import Body, Graph, Node
from tantra_dsl.graph.paths import bottom_up, used_bodies, weighted_bodies
from tantra_dsl.graph.types import TensorType

ATTENTION = frozenset({"attend", "additive_attend"})
SCANS = frozenset({"linear_scan", "selective_scan", "delta_scan"})
_ALONG_TIME = ATTENTION | SCANS | {"conv1d", "shift", "gather_time"}
_LONG_CHAIN = 7
"""Widths that are told one by one."""
_PROJECTIONS = frozenset({"linear", "expert_linear", "conv1d", "embedding"})


@dataclass(frozen=True)
class Facts:
    """The kinds and the lines of the bodies of one graph."""

    graph: Graph
    kinds: dict[str, Kind] = field(default_factory=dict)
    lines: dict[str, tuple[str, ...]] = field(default_factory=dict)
    layers: set[str] = field(default_factory=set)
    """Keys of the bodies that are layers, or inside of layers."""

    def __post_init__(self) -> None:
        weighted = weighted_bodies(self.graph)
        self.layers.update(_in_stacks(self.graph))
        for key in bottom_up(self.graph):
            body = self.graph.bodies[key]
            self.kinds[key] = self._kind(body, key in weighted)
            self.lines[key] = tuple(self._lines(body))

    def _kind(self, body: Body, weighted: bool) -> Kind:
        inner = {self.kinds[node.attr("body").key] for node in body.nodes if node.op == "call"}
        if "mixer" in inner or any(_along_time(node) for node in body.nodes):
            return "mixer"
        if any(node.op in ("embedding", "tabulate", "patches") or self.is_head(body, node) for node in body.nodes):
            return "table"
        if _is_norm(body):
            return "norm"
        if "table" in inner:
            return "table"
        return "channel" if weighted else "op"

    def is_head(self, body: Body, node: Node) -> bool:
        """Whether a node scores the model's whole vocabulary: not within a layer, where a width may be the same."""
        vocab = None if body.key in self.layers else self.graph.fact("vocab")
        return node.op == "linear" and vocab is not None and node.type.dims[-1].size.known == vocab

    # --- lines ---------------------------------------------------------------------------

    def _lines(self, body: Body) -> Iterator[str]:
        own = list(self._own(body))
        yield from own
        mixes = any(node.op in ATTENTION | SCANS for node in body.nodes)
        if not mixes and not any(node.op == "expert_linear" for node in body.nodes):
            yield from _widths(body)
        for node in body.nodes:
            if node.op == "call":
                yield from self._inner(node)

    def _own(self, body: Body) -> Iterator[str]:
        told = [tuple(self.attention(body, node)) for node in body.nodes if node.op in ATTENTION]
        for lines, times in Counter(told).items():
            yield lines[0] if times == 1 else f"{times} attentions, each of {lines[0]}"
            yield from lines[1:]
        for node in body.nodes:
            if node.op in SCANS:
                yield from scan_lines(node)
            elif node.op == "conv1d":
                yield conv_text(body, node)
            elif node.op in ("embedding", "patches"):
                yield _table(body, node)
            elif node.op == "tabulate":
                yield f"{wave_text(node)}, width {number(_last(node.type))}"
        yield from _experts(body)

    def _inner(self, node: Node) -> Iterator[str]:
        """A module inside, in one line; norms among heads were told with these."""
        key = node.attr("body").key
        if self.kinds[key] == "norm" or not self.lines[key]:
            return
        yield f"{node.attr('name')}: {', '.join(self.lines[key][:2])}"

    def attention(self, body: Body, node: Node, *, apart: bool = False) -> Iterator[str]:
        """Heads, mask and score of an attention; ``apart``: without what happens to queries and keys before it."""
        nodes = {inner.id: inner for inner in body.nodes}
        q, k, v = (body.type_of(ref) for ref in node.inputs[:3])
        yield heads_text(q, k, v)
        mask = node.attr("mask")
        yield "no mask" if mask is None else "causal" if node.attr("causal") else program_text(mask)
        if node.attr("score") is not None:
            yield f"score {program_text(node.attr('score'))}"
        extras = [] if apart else [*_positions(nodes, node), *self._head_norms(nodes, node)]
        extras += ["sinks"] if "sink" in node.attr("has", ()) else []
        if extras:
            yield ", ".join(dict.fromkeys(extras))
        if not apart:
            yield from _ranks(nodes, node)
            yield from _memory(nodes, node)

    def _head_norms(self, nodes: dict[str, Node], node: Node) -> Iterator[str]:
        """Norms between the projections and the scores."""
        for ref in node.inputs[:2]:
            for before in _back(nodes, ref.node, _PROJECTIONS):
                if before.op == "call" and self.kinds[before.attr("body").key] == "norm":
                    yield f"{self.graph.body_of(before).definition} on q, k"
                elif before.op == "normalize":
                    yield f"{before.attr('kind')} on q, k"


def _in_stacks(graph: Graph) -> set[str]:
    found: set[str] = set()
    for key in reversed(bottom_up(graph)):
        for node in graph.bodies[key].nodes:
            if node.op == "stack" or key in found:
                found.update(used_bodies(node))
    return found


def _along_time(node: Node) -> bool:
    if node.op in ("pool", "softmax", "select"):
        return node.attr("axis") == "time" and node.op != "select"
    return node.op in _ALONG_TIME


def _is_norm(body: Body) -> bool:
    """Whether a body normalises what it is given and does little else."""
    ops = {node.op for node in body.nodes}
    return "normalize" in ops and ops <= {"input", "param", "normalize", "map", "dropout", "split", "concat"}


def _back(nodes: dict[str, Node], start: str, stops: frozenset[str]) -> Iterator[Node]:
    """The nodes that ``start`` is made of, nearest first, each once; none beyond those whose op is in ``stops``."""
    seen, left = {start}, [start]
    while left:
        node = nodes[left.pop(0)]
        yield node
        for ref in node.inputs if node.op not in stops else ():
            if ref.node not in seen:
                seen.add(ref.node)
                left.append(ref.node)


def _last(type: TensorType) -> str:
    return str(type.dims[-1].size)


def _positions(nodes: dict[str, Node], node: Node) -> Iterator[str]:
    for ref in node.inputs[:2]:
        for before in _back(nodes, ref.node, _PROJECTIONS):
            if before.op == "rope":
                yield rope_text(before)


def _ranks(nodes: dict[str, Node], node: Node) -> Iterator[str]:
    """Widths that queries, or keys and values, are squeezed through (DeepSeek-AI 2024)."""
    found = [_squeeze(nodes, ref.node) for ref in node.inputs[:3]]
    named = dict(zip(("q", "k", "v"), found, strict=True))
    if named["k"] == named["v"]:
        named = {"q": named["q"], "k, v": named["k"]}
    told = [f"{name} by way of {number(width)}" for name, width in named.items() if width]
    if told:
        yield "; ".join(told)


def _squeeze(nodes: dict[str, Node], start: str) -> str:
    """Width of what the nearest projection before ``start`` reads, where that is itself made by a projection."""
    for node in _back(nodes, start, _PROJECTIONS):
        if node.op == "linear":
            inputs = nodes[node.inputs[0].node]
            before = [n for n in _back(nodes, inputs.id, _PROJECTIONS) if n.op == "linear"]
            narrow = _last(inputs.types[node.inputs[0].out])
            return narrow if before and narrow.isdigit() else ""
    return ""


def _memory(nodes: dict[str, Node], node: Node) -> Iterator[str]:
    """Where keys and values come from, where that is not where the queries do."""
    streams = [_streams(nodes, ref.node) for ref in node.inputs[:2]]
    other = [name for name in streams[1] if name not in streams[0]]
    if other and streams[0]:
        yield f"keys and values from {', '.join(other)}"


def _streams(nodes: dict[str, Node], start: str) -> list[str]:
    found = [n for n in _back(nodes, start, frozenset()) if n.op == "input" and n.attr("kind") == "tensor"]
    return [str(node.attr("name")) for node in found]


def scan_lines(node: Node) -> Iterator[str]:
    """Heads and state of a scan."""
    named = {"linear_scan": "linear scan", "selective_scan": "selective scan", "delta_scan": "delta rule"}[node.op]
    axis = node.type.axis("heads")
    if axis is None:
        yield f"{named}, width {number(_last(node.type))}"
        return
    heads, width = node.type.dims[axis].size, _last(node.type)
    yield f"{named}, {number(str(heads))} heads of {number(width)}"


def conv_text(body: Body, node: Node) -> str:
    """``causal convolution, width 4``."""
    width = _last(body.type_of(node.inputs[1]))
    return f"{'causal' if node.attr('causal') else 'centred'} convolution, width {width}"


def wave_text(node: Node) -> str:
    """What kind of table of positions a ``tabulate`` makes."""
    text = program_text(node.attr("program"))
    return "sines and cosines" if "sin(" in text else "a fixed table"


def _table(body: Body, node: Node) -> str:
    if node.op == "patches":
        return f"patches of {node.attr('size')}"
    return sizes_text(body.type_of(node.inputs[1]))


def _experts(body: Body) -> Iterator[str]:
    for node in body.nodes:
        if node.op == "route":
            yield f"{number(_last(body.type_of(node.inputs[0])))} experts, {node.attr('top_k')} for each token"
            if node.attr("groups") > 1:
                yield f"of {node.attr('kept_groups')} out of {node.attr('groups')} groups"
    if any(node.op == "expert_linear" for node in body.nodes):
        yield f"each {_chain(body, 'expert_linear')}"
        yield from filter(None, (_activations(body, "expert_linear"),))


def _widths(body: Body) -> Iterator[str]:
    """The widths that a chain of projections goes through, and the functions between them."""
    yield from filter(None, (_chain(body, "linear"), _activations(body, "linear")))


def _chain(body: Body, op: str) -> str:
    """``768 → 3,072 → 768``: the longest way through the projections of a body."""
    ways: dict[str, tuple[str, ...]] = {}
    best: tuple[str, ...] = ()
    for node in body.nodes:
        before = max((ways.get(ref.node, ()) for ref in node.inputs), key=len, default=())
        if node.op == op:
            first = _last(body.type_of(node.inputs[0]))
            before = (*(before or (first,)), _last(node.type))
        ways[node.id] = before
        best = max(best, before, key=len)
    told = [*best[:4], "…", best[-1]] if len(best) > _LONG_CHAIN else best
    return " → ".join(map(number, told))


def _activations(body: Body, op: str) -> str:
    """``silu, gated``: named functions of what ops of one kind give, and whether two such streams are multiplied."""
    after: set[str] = set()
    maps: list[Node] = []
    for node in body.nodes:
        reads = any(ref.node in after for ref in node.inputs)
        if node.op == op or reads:
            after.add(node.id)
        if node.op == "map" and (reads or op == "linear"):
            maps.append(node)
    names = [node.attr("program").name for node in maps if node.attr("program").name]
    gated = [n for n in maps if n.attr("arity") == 2 and all(ref.node in after for ref in n.inputs)
             and program_text(n.attr("program")) == "a * b"]  # fmt: skip
    return ", ".join([*dict.fromkeys(names), *(["gated"] if gated and names else [])])
