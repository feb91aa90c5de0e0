"""How a model would run: for every op with a choice, what was chosen and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tantra_compiler.compile import pipeline
from tantra_compiler.kernels.attention.configs import choose, with_dropout
from tantra_compiler.kernels.load import load_of
from tantra_compiler.options import CompileOptions
from tantra_compiler.passes.base import Decision, Step, run_passes
from tantra_compiler.passes.places import places
from tantra_dsl.graph.model import Body, Graph, Node

TARGETS = ("cpu", "sm_80", "sm_90", "sm_100", "gfx942")
"""What a model can be asked about: the CPU, NVIDIA's chips by compute capability, AMD's MI300."""

_BYTES = 2


def decisions(graph: Graph, options: CompileOptions | None = None, target: str = "cpu") -> list[Decision]:
    """Every choice of compiling ``graph``, in the order of the model. Raises ValueError for an unknown target."""
    if target not in TARGETS:
        raise ValueError(f"there is no target {target!r}; there are {', '.join(TARGETS)}")
    found: list[Decision] = []

    def watch(step: Step) -> None:
        found.extend(step.decisions)

    compiled = run_passes(graph, pipeline(options or CompileOptions()), watch)
    paths = places(compiled)
    for key, body in compiled.bodies.items():
        found += [replace(each, path=path or each.path) for each in _attends(body, target) for path in paths[key]]
    return found


def _attends(body: Body, target: str) -> Iterator[Decision]:
    for node in body.nodes:
        if node.op == "attend":
            yield _attend(body, node, target)


def _attend(body: Body, node: Node, target: str) -> Decision:
    from tantra_compiler.emit.lower_attention import choose_attention, meaning

    choice = choose_attention(node)
    if choice.function != "attend":
        name = "reference" if choice.function == "attend_reference" else "torch"
        return Decision(node.id, "attend", name, choice.reason)
    if target == "cpu":
        return Decision(node.id, "attend", "blockwise", choice.reason)
    width, value_width = (int(str(body.type_of(node.inputs[slot]).dims[-1].size)) for slot in (1, 2))
    obstacle = _obstacle(width, value_width)
    if obstacle is not None:
        return Decision(node.id, "attend", "reference", obstacle)
    load = load_of(meaning(node))
    load = with_dropout(load) if node.attr("dropout") else load
    config = choose(target, "forward", _BYTES, width, value_width, load)
    tiles = f"tiles of {config.block_m} x {config.block_n}, {config.warps} warps, {config.stages} stages in bfloat16"
    return Decision(node.id, "attend", "triton", f"{choice.reason}; {tiles}")


def _obstacle(*widths: int) -> str | None:
    wrong = [width for width in widths if width % 8 or not 8 <= width <= 256]
    return f"head width {wrong[0]} is not a multiple of 8 up to 256" if wrong else None
