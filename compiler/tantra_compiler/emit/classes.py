"""One class, or one function, for each distinct body."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from tantra_compiler.emit.calls import Callables
from tantra_compiler.emit.expr import Expr, call, entry, header, number, plain, quoted, sequence, statement
from tantra_compiler.emit.members import Weights, holders, member, packed_layers, reachable
from tantra_compiler.emit.names import class_name, identifier
from tantra_compiler.emit.stacks import stack_constructor
from tantra_compiler.emit.writer import Writer
from tantra_dsl.graph.model import Body, Init, Node, Ref
from tantra_dsl.graph.paths import weight_shape
from tantra_dsl.syntax.source import NOWHERE, Span

_NAME = "@name@"


@dataclass
class Classes:
    """Writes the classes and functions of a graph; bodies that come out alike share one."""

    callables: Callables
    sources: list[str] = field(default_factory=list)
    _known: dict[str, str] = field(default_factory=dict)

    def add(self, body: Body) -> None:
        """Write ``body``, or find the class that says the same."""
        if self.callables.is_layer(body.key):
            return
        if body.key in self.callables.functions:
            text, wanted = self._function(body), identifier(body.definition)
        else:
            text, wanted = self._class(body), class_name(body.definition)
        plain = without_comments(text)
        if plain not in self._known:
            self._known[plain] = self._name(body, wanted)
            self.sources.append(text.replace(_NAME, self._known[plain]))
        self.callables.names[body.key] = self._known[plain]

    def _name(self, body: Body, wanted: str) -> str:
        """The definition's name; where that is taken, with what the model calls this use of it, or a number."""
        source = self.callables.source
        used = self.callables.uses.get(body.key, "")
        telling = wanted[0].isupper() and used.isalpha() and used != body.definition
        return source.claim(class_name(f"{used}_{body.definition}") if telling and wanted in source.names else wanted)

    def _function(self, body: Body) -> str:
        cached = self.callables.takes_cache(body.key)
        given = input_names(self.callables, body)
        writer = Writer(body, self.callables, Weights(body), cached, given, indent=4)
        doc = f'    """{described(body)}"""'
        head = signature(_NAME, parameters(body, given), cached, 0, returned(body))
        return "\n".join([*head, doc, *writer.lines(results(body))])

    def _class(self, body: Body) -> str:
        base = base_class(self.callables, body)
        return "\n".join([f"class {_NAME}({base}):", *self.class_head(body), "", *self._forward(body)])

    def class_head(self, body: Body) -> list[str]:
        """Docstring, table of starts and ``__init__``."""
        made = constructed(body, self.callables)
        tables = [*inits_table(self.callables, body), *packed_table(body)]
        lines = [f'    """{described(body)}"""', "", *tables, *([""] if tables else [])]
        if made:
            lines += ["    def __init__(self) -> None:", "        super().__init__()", *made, ""]
        return lines[:-1]

    def _forward(self, body: Body) -> list[str]:
        cached = self.callables.takes_cache(body.key)
        given = input_names(self.callables, body)
        writer = Writer(body, self.callables, Weights(body), cached, given)
        head = signature("forward", ["self", *parameters(body, given)], cached, 4, returned(body))
        return [*head, *writer.lines(results(body))]


def results(body: Body) -> list[Ref]:
    """What a call of ``body`` gives: its outputs, then its taps."""
    return [ref for _, ref in (*body.outputs, *body.taps)]


def returned(body: Body) -> str:
    """Annotation of what a call of ``body`` gives."""
    count = len(results(body))
    return "Tensor" if count == 1 else f"tuple[{', '.join(['Tensor'] * count)}]"


def input_names(callables: Callables, body: Body) -> dict[Ref, str]:
    """Names of the parameters that the body's inputs become."""
    names: dict[Ref, str] = {}
    for node in body.inputs:
        wanted = node.attr("name")
        if node.attr("kind") == "tap":
            wanted = f"{identifier(node.attr('path') or 'out')}_{max(node.attr('layer'), 0)}"
        taken = callables.source.names | set(names.values())
        names[Ref(node.id)] = free_name(identifier(wanted), taken)
    return names


def free_name(wanted: str, taken: Iterable[str]) -> str:
    """``wanted`` with underscores behind it until nothing else has it."""
    taken = set(taken)
    while wanted in taken:
        wanted += "_"
    return wanted


def parameters(body: Body, names: dict[Ref, str]) -> list[str]:
    """The body's inputs as annotated parameters."""
    owners = {node.inputs[0].node for node in body.nodes if node.op == "weight"}
    kinds = {"module": "nn.Module"}
    types = {n.id: "Any" if n.id in owners else kinds.get(n.attr("kind"), "Tensor") for n in body.inputs}
    return [f"{name}: {types[ref.node]}" for ref, name in names.items()]


def signature(name: str, parameters: list[str], cached: bool, indent: int, returns: str) -> list[str]:
    """The ``def`` line, or lines where it is long."""
    if cached:
        parameters = [*parameters, "cache: Cache | None = None"]
    return header(name, parameters, returns, indent)


def described(body: Body) -> str:
    """One line that says which definition of the spec a class is."""
    return plain(f"{body.definition}{place_of(body.origin)}.")


def place_of(origin: Span) -> str:
    """`` (file:line)`` of a span, where it has one."""
    if origin == NOWHERE:
        return ""
    line, _ = origin.source.line_column(origin.start)
    return f" ({origin.source.name}:{line})"


def without_comments(text: str) -> str:
    """``text`` without comments and docstring: what decides whether two classes are the same."""
    return re.sub(r'  # .*$|^ *""".*"""$', "", text, flags=re.MULTILINE)


# --- members ---------------------------------------------------------------------------


def constructed(body: Body, callables: Callables) -> list[str]:
    """The lines of ``__init__`` that make what ``body`` owns."""
    weights = Weights(body)
    made = sorted(_made(body, weights, callables), key=lambda each: _rank(each[0], callables.source.written(body.key)))
    lines: list[str] = []
    for prefix in holders([path for path, _ in made]):
        made.insert(_first_below(made, prefix), (prefix, Expr(f"{callables.source.use('Part')}()")))
    for path, value in made:
        lines += statement(f"{_slot(path, value)} = ", value, 8)
    return lines


def _rank(path: str, written: list[str]) -> int:
    """Where in the order of ``written`` paths stands what is at, above or below ``path``."""
    for rank, other in enumerate(written):
        if f"{other}.".startswith(f"{path}.") or f"{path}.".startswith(f"{other}."):
            return rank
    return len(written)


def _first_below(made: list[tuple[str, Expr]], prefix: str) -> int:
    return next(number for number, (path, _) in enumerate(made) if path.startswith(f"{prefix}."))


def _slot(path: str, value: Expr) -> str:
    """What is assigned to make a child at ``path``; some names can only be set in a module's own tables."""
    owner, _, name = path.rpartition(".")
    base = member("self", owner) if owner else "self"
    if reachable(name):
        return f"{base}.{name}"
    tables = {"nn.Parameter": "_parameters", "nn.Buffer": "_buffers"}
    return f"{base}.{tables.get(value.text.partition('(')[0], '_modules')}[{quoted(name)}]"


def _made(body: Body, weights: Weights, callables: Callables) -> Iterable[tuple[str, Expr]]:
    done: set[str] = set()
    for node in body.nodes:
        if node.op == "param":
            path, value = _weight(node, weights)
        elif node.op == "stack":
            path, value = node.attr("name"), stack_constructor(node, callables)
        elif node.op == "instance" or (node.op == "call" and node.attr("instance") == "own"):
            key = node.attr("body").key
            if key in callables.functions:
                continue
            path, value = node.attr("name"), Expr(callables.constructor(key))
        else:
            continue
        if path not in done:
            done.add(path)
            yield path, value


def _weight(node: Node, weights: Weights) -> tuple[str, Expr]:
    path = node.attr("name")
    prefix = path.rpartition(".")[0]
    if prefix in weights.layers:
        return prefix, Expr(weights.layers[prefix].constructor)
    sizes = ", ".join(map(str, weight_shape(node)))
    kind = "nn.Parameter" if node.attr("trained", True) else "nn.Buffer"
    return path, call(kind, call("torch.empty", sizes or "()"))


def inits_table(callables: Callables, body: Body) -> list[str]:
    """The class attribute that says how the weights start, and the one that names those without weight decay."""
    found = list(own_weights(callables, body))
    if not found:
        return []
    lines = ["    inits: ClassVar[dict[str, Init]] = {"]
    for path, init, _ in found:
        lines += entry(path, _init_text(init), 8)
    lines.append("    }")
    still = [quoted(path) for path, _, decay in found if not decay]
    if still:
        lines += statement("no_decay: ClassVar[tuple[str, ...]] = ", sequence(*still), 4)
    return lines


def base_class(callables: Callables, body: Body) -> str:
    """What the class of ``body`` extends."""
    return callables.source.use("Packed") if any(packed_layers(body)) else "nn.Module"


def packed_table(body: Body) -> list[str]:
    """The class attribute that says which linear layers keep their weights side by side."""
    groups = [sequence(*map(quoted, group)) for group in packed_layers(body)]
    if not groups:
        return []
    return statement("packed: ClassVar[tuple[tuple[str, ...], ...]] = ", sequence(*groups), 4)


def own_weights(callables: Callables, body: Body) -> Iterable[tuple[str, Init, bool]]:
    """Weights that ``body`` holds itself or in a torch layer: path, start, whether weight decay applies."""
    for node in body.nodes:
        if node.op == "param":
            yield node.attr("name"), node.attr("init"), node.attr("decay")
        elif node.op == "instance" or (node.op == "call" and node.attr("instance") == "own"):
            inner = callables.source.graph.body_of(node)
            if callables.is_layer(inner.key):
                for part in inner.nodes:
                    if part.op == "param":
                        yield f"{node.attr('name')}.{part.attr('name')}", part.attr("init"), part.attr("decay")


def _init_text(init: Init) -> Expr:
    return sequence(quoted(init.kind), sequence(*map(number, init.values)))
