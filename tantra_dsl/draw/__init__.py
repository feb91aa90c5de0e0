"""Diagrams of models: ``picture`` takes one from a graph, ``svg`` and ``dot`` write it."""

from tantra_dsl.draw.dot import dot
from tantra_dsl.draw.extract import picture
from tantra_dsl.draw.svg import svg

__all__ = ["dot", "picture", "svg"]
