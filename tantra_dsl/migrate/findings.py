"""What a proof finds, and how it tells places: results of bodies, parts, layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tantra_dsl.graph.model import Body, Ref
from tantra_dsl.graph.stacks import tap_ref


@dataclass(frozen=True, slots=True)
class Reason:
    """Why the function is another one: in which part (``*`` stands for a layer's number), in which layer, and what."""

    part: str
    layer: tuple[str, int] | None
    why: str
    in_models: bool = False
    """Whether it lies in what the models are, whatever their weights."""


@dataclass
class Proof:
    """What a walk found: reasons why the function is another one, and why it is rounded otherwise."""

    reasons: list[Reason] = field(default_factory=list)
    rounding: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Place:
    """Where an instance is: the prefix of its weights' paths, the same with ``*`` for layers, and its layer."""

    prefix: str = ""
    part: str = ""
    layer: tuple[str, int] | None = None

    def inside(self, name: str) -> Place:
        """The part called ``name``."""
        return Place(f"{self.prefix}{name}.", f"{self.part}{name}.", self.layer)

    def at_layer(self, stack: str, index: int, first: int) -> Place:
        """Layer ``index`` of a stack, whose weights are those of layer ``first``."""
        layer = self.layer or (f"{self.part}{stack}", index)
        return Place(f"{self.prefix}{stack}.{first}.", f"{self.part}{stack}.*.", layer)


Pick = Callable[[Body], Ref]
"""Chooses one result of a body."""


def named(name: str, body: Body) -> Ref:
    """The result called ``name``."""
    return dict(body.outputs)[name]


def numbered(out: int, body: Body) -> Ref:
    """Result number ``out``."""
    return body.outputs[out][1]


def tapped(path: str, body: Body) -> Ref:
    """What later layers read under ``path``."""
    ref = tap_ref(body, path)
    assert ref is not None
    return ref
