"""The costs of a model, with the formula behind each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tantra_dsl.graph.costs.activations import Held
from tantra_dsl.graph.costs.figures import Figure
from tantra_dsl.graph.costs.flops import FORMULAS, Lengths
from tantra_dsl.graph.costs.forward import ForwardCosts
from tantra_dsl.graph.costs.optimizers import OPTIMIZER_STATES, Optimizer
from tantra_dsl.graph.costs.parameters import Parameters
from tantra_dsl.graph.costs.parts import Part, PartTable
from tantra_dsl.graph.costs.saved import FORMULA as SAVED
from tantra_dsl.graph.costs.training import Training
from tantra_dsl.graph.model import Graph

STATE_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class CostReport:
    """What a model costs for ``batch`` sequences of ``seq`` tokens."""

    seq: int
    batch: int
    precision: str
    optimizer: str
    figures: dict[str, Figure]
    parts: tuple[Part, ...]

    def __getitem__(self, name: str) -> Figure:
        return self.figures[name]


def cost(
    graph: Graph,
    *,
    seq: int | None = None,
    batch: int = 1,
    precision: str = "float32",
    optimizer: str = "adamw",
    cache_bytes: int = 2,
    dropout: float = 0.0,
) -> CostReport:
    """What ``graph`` costs for ``batch`` sequences of ``seq`` tokens (the model's context where None, else 1024).

    ``precision`` of the training step is ``float32`` or ``bf16`` (autocast: weights and optimizer stay float32);
    ``cache_bytes`` is the size of one number of the decoding cache; ``dropout`` the recipe's rate, for ops that set
    none. Raises ValueError for lengths below one, a rate outside [0, 1), or a precision or optimizer that is not
    known. Costs what the distinct bodies cost.
    """
    length = seq if seq is not None else graph.fact("context") or 1024
    _check(length, batch, precision, optimizer, dropout)
    return _Costing(graph, length, batch, precision, optimizer, cache_bytes, dropout).report()


def _check(seq: int, batch: int, precision: str, optimizer: str, dropout: float) -> None:
    if seq < 1 or batch < 1:
        raise ValueError(f"seq and batch must be at least 1, but are {seq} and {batch}")
    if precision not in ("float32", "bf16"):
        raise ValueError(f"precision must be float32 or bf16, but is {precision}")
    if optimizer not in OPTIMIZER_STATES:
        raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZER_STATES)}, but is {optimizer}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be from 0 up to 1, but is {dropout}")


def lengths_of(graph: Graph, seq: int, batch: int) -> Lengths:
    """A value for every run-time length of the model: ``batch`` sequences, every time axis ``seq`` long."""
    types = [node.type for node in graph.main.inputs]
    symbols = {symbol for t in types for dim in t.dims for symbol, _ in dim.size.terms}
    return {symbol: batch if symbol == "batch" else seq for symbol in symbols | {"batch"}}


class _Costing:
    """Everything that a report is made from."""

    def __init__(self, graph: Graph, seq: int, batch: int, precision: str, optimizer: str, cache_bytes: int,
                 dropout: float) -> None:  # fmt: skip
        self.graph, self.seq, self.batch, self.dropout = graph, seq, batch, dropout
        self.precision, self.optimizer, self.cache_bytes = precision, optimizer, cache_bytes
        self.lengths = lengths_of(graph, seq, batch)
        self.parameters = Parameters(graph)
        self.forward = ForwardCosts(graph, self.lengths)
        self.step = Training(graph, self.lengths, precision == "bf16", dropout).root()
        self.kept = Held.by(self.step).total
        self.states = Optimizer(graph, optimizer)
        self.timed = len(self.lengths) > 1

    def report(self) -> CostReport:
        figures = dict(self._weights()) | dict(self._flops()) | dict(self._decoding()) | dict(self._memory())
        table = PartTable(self.graph, self.parameters, self.states, self.forward, self.step, self.cache_bytes)
        return CostReport(self.seq, self.batch, self.precision, self.optimizer, figures, table.parts())

    # --- figures -------------------------------------------------------------------------

    def _weights(self) -> Iterator[tuple[str, Figure]]:
        total, active = self.parameters.total[self.graph.root], self.parameters.active[self.graph.root]
        yield "params", Figure(total, "sum of the sizes of all weights; what is shared counts once")
        yield "active_params", Figure(active, "weights that one token uses: of the experts, as many as it is routed to")

    def _flops(self) -> Iterator[tuple[str, Figure]]:
        flops = self.forward.body(self.graph.root).flops
        tokens = self.batch * self.seq
        total = Figure.of(flops.total, f"products + attention + scans, for {self.batch} x {self.seq:,} tokens")
        for name in ("products", "attention", "scans"):
            yield f"flops_{name}", Figure.of(getattr(flops, name), FORMULAS[name])
        yield "flops_attention_dense", Figure.of(flops.dense, FORMULAS["dense"])
        yield "flops_forward", total
        yield "flops_per_sequence", total.map(lambda f: f // self.batch, "flops_forward / batch")
        yield "flops_per_token", self._per_token(total, tokens)
        whole = flops.total + self.step.backward
        formula = "forward, and the forward's products once more for each operand that needs a gradient"
        yield "flops_training_step", Figure.of(whole, formula)

    def _per_token(self, total: Figure, tokens: int) -> Figure:
        if not self.timed:
            return Figure(None, "the model has no time axis of its inputs", "unknown")
        return total.map(lambda f: f // tokens, f"flops_forward / {tokens:,} tokens")

    def _decoding(self) -> Iterator[tuple[str, Figure]]:
        kept, size = self.forward.body(self.graph.root).kept, self.cache_bytes
        layers = sum(kept.grows.values())
        widths = " + ".join(_site(*site, count) for site, count in sorted(kept.grows.items(), key=str)) or "0"
        yield (
            "kv_bytes_per_token",
            Figure(
                kept.per_token * size, f"({widths}) * {size} bytes: keys and values as {layers} attentions read them"
            ),
        )
        formula = f"as kv_bytes_per_token, times {self.seq:,} tokens or the window where that is less"
        yield "kv_bytes", Figure(kept.at(self.seq) * size, formula)
        memory = sum(width * self._extent(extent) * count for (width, extent), count in kept.memory.items())
        yield (
            "memory_kv_bytes",
            Figure(memory * size, f"keys and values of cross-attention over its memory * {size} bytes"),
        )
        yield (
            "state_bytes",
            Figure(kept.state * STATE_BYTES, f"recurrent states and tails of convolutions * {STATE_BYTES} bytes"),
        )

    def _extent(self, extent: str) -> int:
        return int(extent) if extent.isdigit() else self.seq

    def _memory(self) -> Iterator[tuple[str, Figure]]:
        params = self.parameters.total[self.graph.root]
        states = self.states.model(params)
        yield "weight_bytes", Figure(4 * params, "params * 4 bytes")
        yield "gradient_bytes", Figure(4 * params, "params * 4 bytes")
        yield "optimizer_bytes", Figure(states, self.states.formula)
        dropout = f", dropout {self.dropout:g}" if self.dropout else ""
        yield "activation_bytes", Figure(self.kept, f"{SAVED}; {self.precision}{dropout}")
        yield "training_bytes", Figure(8 * params + states + self.kept, "weights + gradients + optimizer + activations")


def _site(width: int, window: int | None, count: int) -> str:
    return f"{count} * {width}" + ("" if window is None else f" [window {window}]")
