"""Writing a body without weights out in its caller, so that the emitted equation reads as one line."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tantra_dsl.graph.model import Ref
from tantra_dsl.semantics.frame import Frame
from tantra_dsl.semantics.values import Tensor, Value

if TYPE_CHECKING:
    from tantra_dsl.semantics.bodies import Made

_STRUCTURE = frozenset({"param", "call", "instance", "stack"})
_MAX_NODES = 12


def is_plain(made: Made) -> bool:
    """Whether a body holds no weights, calls nothing and is short."""
    nodes = made.frame.builder.nodes.values()
    own = [node for node in nodes if node.op != "input"]
    return len(own) <= _MAX_NODES and not any(node.op in _STRUCTURE for node in own)


def paste(made: Made, frame: Frame) -> Value:
    """Copy the body's nodes into ``frame``; gives what its results are there."""
    inner = made.frame
    meaning: dict[Ref, Ref] = {}
    names = iter(made.passed)
    outer = {local: inner.outer[n] for n, local in enumerate(inner.captured.values())}
    for node in inner.builder.nodes.values():
        own = Ref(node.id)
        if node.op == "input":
            tensor = outer[own] if own in outer else next(names)
            meaning[own] = frame.use(tensor)
            continue
        id = frame.builder.free_id(node.id)
        inputs = tuple(meaning[ref] for ref in node.inputs)
        frame.builder.nodes[id] = replace(node, id=id, inputs=inputs, equation=frame.equation, target=None)
        for out in range(len(node.types)):
            meaning[Ref(node.id, out)] = Ref(id, out)
    results = tuple(Tensor(meaning[result.ref], frame) if result.frame is inner else result for result in made.results)
    return results[0] if len(results) == 1 else results
