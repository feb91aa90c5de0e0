"""A training step through one body or stack: what its backward pass keeps, and which node keeps it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from tantra_dsl.graph.costs.figures import Amount

Claim = tuple[Literal["input", "output", "shared"], Hashable]
"""Memory that a body keeps and that is not its own: an input or an output by its number, or what many ops share."""


@dataclass(frozen=True, slots=True)
class Flow:
    """What is known of a tensor that enters a body: bytes per element, and whether a gradient flows into it."""

    width: int
    grad: bool


@dataclass(frozen=True, slots=True)
class Keeper:
    """The first node that keeps something. ``claim`` is what that is to the body or layers that the node calls."""

    node: str
    claim: Claim | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """An output or a tap of a body: the input that it views (or None), and who keeps it inside (None: nobody).

    ``twin`` is an earlier one that is the same memory.
    """

    views: int | None
    keeper: Keeper | None
    flow: Flow
    twin: int | None = None

    @property
    def saved(self) -> bool:
        """Whether it is kept inside the body."""
        return self.keeper is not None


@dataclass(frozen=True)
class Step:
    """A training step through one call of a body.

    ``kept`` is the bytes kept inside by who keeps them, ``inputs`` the inputs kept, ``taps`` whether each tap is kept;
    ``shared`` is memory that counts once for all ops of a model that use it; ``backward`` the FLOPs of the backward
    pass. ``below`` has the steps through what the nodes call.
    """

    kept: tuple[tuple[Keeper, int], ...]
    inputs: Mapping[int, Keeper]
    outputs: tuple[Result, ...]
    taps: Mapping[str, bool] = field(default_factory=dict)
    shared: Mapping[Hashable, tuple[Keeper, int]] = field(default_factory=dict)
    backward: Amount = field(default_factory=Amount)
    below: Mapping[str, Step | LayerSteps] = field(default_factory=dict)

    @cached_property
    def saved(self) -> int:
        """Bytes kept inside."""
        return sum(size for _, size in self.kept)

    def keeper(self, claim: Claim) -> Keeper:
        """The node that keeps what is claimed of the body's surroundings."""
        kind, which = claim
        if kind == "shared":
            return self.shared[which][0]
        assert isinstance(which, int)
        found = self.inputs[which] if kind == "input" else self.outputs[which].keeper
        assert found is not None
        return found


@dataclass(frozen=True)
class LayerSteps:
    """Training steps through the layers of a stack, by body, and how many layers have each.

    ``claims`` is what the layers of each body keep, all together, of the tensors between layers. ``homes`` leads from
    what the stack keeps of its surroundings to the body of the layer that keeps it, and to what it is to that one.
    """

    steps: Mapping[str, Step]
    counts: Mapping[str, int]
    claims: Mapping[str, dict[Claim, int]]
    homes: dict[Claim, tuple[str, Claim]]

    @property
    def saved(self) -> int:
        """Bytes kept inside the stack."""
        between = sum(sum(claims.values()) for claims in self.claims.values())
        return between + sum(self.steps[key].saved * count for key, count in self.counts.items())

    @property
    def backward(self) -> Amount:
        """FLOPs of the backward pass."""
        return sum((self.steps[key].backward.scaled(count) for key, count in self.counts.items()), Amount())

    def claim(self, key: str, claim: Claim, size: int) -> None:
        """Adds bytes to what layers with body ``key`` keep of the tensors between layers."""
        held = self.claims[key]
        held[claim] = held.get(claim, 0) + size
