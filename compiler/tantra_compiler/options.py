"""How a graph is compiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class CompileOptions:
    """Choices that change how a model is compiled, never what it is.

    ``dropout`` and ``label_smoothing`` are the recipe's, for ops that leave theirs open. ``standalone`` copies the
    runtime into the source, which then needs torch alone. ``kernels`` overrides how attention runs, by a path or
    pattern such as ``layers.*.attention``. ``without`` names passes to leave out.
    ``seed`` starts the weights; without it one is drawn from torch's generator. ``device`` is where the module is
    made; on ``meta`` nothing is started.
    """

    dropout: float = 0.0
    label_smoothing: float = 0.0
    standalone: bool = False
    kernels: Mapping[str, str] = field(default_factory=dict)
    without: frozenset[str] = frozenset()
    seed: int | None = None
    device: str = "cpu"
