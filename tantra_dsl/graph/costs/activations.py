"""Where the memory of activations goes: what the backward pass keeps, told by part.

Every tensor counts once, for the first op that keeps it; what several calls of a body keep is taken together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from tantra_dsl.graph.costs.steps import Claim, LayerSteps, Step


@dataclass(frozen=True)
class Held:
    """What ``uses`` calls of a body keep; ``claims`` are the bytes that they keep of their surroundings, all together.

    ``prefix`` is of ids in the step of a body that this one was written out in.
    """

    step: Step
    uses: int
    claims: Mapping[Claim, int]
    prefix: str = ""

    @staticmethod
    def by(step: Step) -> Held:
        """What a whole model keeps in the step through its root."""
        return Held(step, 1, {("shared", key): size for key, (_, size) in step.shared.items()})

    @property
    def total(self) -> int:
        """Bytes kept, all calls together."""
        return sum(sum(claims.values()) for claims in self._nodes.values())

    @cached_property
    def _nodes(self) -> dict[str, dict[Claim | None, int]]:
        """Bytes by the node that keeps them, and by what they are to what the node calls."""
        found: dict[str, dict[Claim | None, int]] = {}
        amounts = [(keeper, size * self.uses) for keeper, size in self.step.kept]
        amounts += [(self.step.keeper(claim), size) for claim, size in self.claims.items()]
        for keeper, size in amounts:
            claims = found.setdefault(keeper.node, {})
            claims[keeper.claim] = claims.get(keeper.claim, 0) + size
        return {id: claims for id, claims in found.items() if id.startswith(self.prefix)}

    def by_node(self, ids: list[str]) -> dict[str, int]:
        """Bytes by node of the body, whose nodes have these ``ids``; what was written out counts for its call."""
        found: dict[str, int] = {}
        for id, claims in self._nodes.items():
            name = self._name(id.removeprefix(self.prefix), ids)
            found[name] = found.get(name, 0) + sum(claims.values())
        return found

    def _name(self, id: str, ids: list[str]) -> str:
        """The node of the body that node ``id`` of the step is, or was written out from."""
        calls = [name for name in ids if id.startswith(f"{name}_") and not self._is_there(name)]
        return id if id in ids else max(calls, key=len, default=id)

    def _is_there(self, id: str) -> bool:
        return self.prefix + id in self.step.below or self.prefix + id in self._nodes

    def inside(self, id: str) -> Held:
        """What is kept inside of what node ``id`` calls."""
        full = self.prefix + id
        below = self.step.below.get(full)
        if below is None:
            return Held(self.step, self.uses, self.claims, f"{full}_")
        assert isinstance(below, Step)
        return Held(below, self.uses, self._claims(full))

    def layers(self, id: str) -> dict[str, Held]:
        """What is kept inside of the layers of the stack ``id``, by their body; all layers with one together."""
        below = self.step.below.get(self.prefix + id)
        if below is None:
            return {}
        assert isinstance(below, LayerSteps)
        claims = {key: {c: size * self.uses for c, size in held.items()} for key, held in below.claims.items()}
        for claim, size in self._claims(self.prefix + id).items():
            key, inner = below.homes[claim]
            claims[key][inner] = claims[key].get(inner, 0) + size
        return {key: Held(step, self.uses * below.counts[key], claims[key]) for key, step in below.steps.items()}

    def _claims(self, id: str) -> dict[Claim, int]:
        return {claim: size for claim, size in self._nodes.get(id, {}).items() if claim is not None}


NOTHING: Final = Held(Step((), {}, ()), 1, {})
"""What is kept of a part that a training step does not run."""
