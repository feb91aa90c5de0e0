"""What is drawn of a model: boxes and frames joined by edges, before anything has a place.

Ids are unique within their flow; an item's ``address`` in the whole picture is its ids from the outside in, joined by
``/``. Edges start at an item or at an input of the flow (``in:NAME``) and end at an item or at ``OUT``; no node of a
graph has an id with a colon.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["input", "mixer", "channel", "table", "norm", "op", "scale", "join", "tap", "objective"]

OUT = ":out"
TAP = ":tap"
GOAL = ":objective"


@dataclass(frozen=True, slots=True)
class Box:
    """One step of a model: what it is called, and lines that say how large it is and what it does.

    ``kind``: ``mixer`` moves information along the sequence, ``channel`` works on each position for itself, ``table``
    goes from or to a vocabulary, ``join`` is a sum or a product of streams, ``tap`` a tensor of an earlier layer,
    ``scale`` a product with a number. ``path`` is where its weights live, layer numbers left out
    (``layers.attention``); ``definition`` is what the language calls it.
    """

    id: str
    kind: Kind
    title: str
    lines: tuple[str, ...] = ()
    path: str = ""
    definition: str = ""


@dataclass(frozen=True, slots=True)
class Edge:
    """A tensor that goes from ``source`` to ``target``.

    ``port`` is the frame's input that it meets, empty for the main one. ``label`` says what is done on the way.
    """

    source: str
    target: str
    port: str = ""
    label: str = ""


@dataclass(frozen=True, slots=True)
class Flow:
    """Items in the order of the equations, and edges. The first of ``inputs`` is the main one."""

    items: tuple[Box | Frame, ...]
    edges: tuple[Edge, ...]
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Frame:
    """Items that are taken together: a stack of layers, one kind of layer, or a module with modules inside.

    ``count`` is how many times the content is gone through; ``layers`` are the numbers of the layers that it stands
    for (empty where it is no layer, or where these are very many). ``lines`` are remarks.
    """

    id: str
    title: str
    flow: Flow
    lines: tuple[str, ...] = ()
    path: str = ""
    definition: str = ""
    count: int = 1
    layers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """A model: its name, its own figures in a line, and what it does."""

    name: str
    facts: str
    flow: Flow


def walk(flow: Flow, prefix: str = "") -> Iterator[tuple[str, Box | Frame]]:
    """Every item with its address, those of a frame after it."""
    for item in flow.items:
        address = f"{prefix}{item.id}"
        yield address, item
        if isinstance(item, Frame):
            yield from walk(item.flow, f"{address}/")
