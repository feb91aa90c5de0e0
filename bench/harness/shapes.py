"""The two shapes that are compared, for libraries that cannot read a spec. ``tests/bench`` holds them to the specs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SPECS = Path(__file__).resolve().parents[1] / "specs"


@dataclass(frozen=True)
class Shape:
    """A decoder's sizes; ``llama`` says which of the two families it is."""

    name: str
    llama: bool
    layers: int
    dim: int
    heads: int
    kv_heads: int
    hidden: int
    vocab: int = 8192
    context: int = 256

    @property
    def spec(self) -> Path:
        """The spec that says the same."""
        return SPECS / f"{self.name}_10m.tantra"

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.dim // self.heads


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("gpt2", llama=False, layers=6, dim=320, heads=5, kv_heads=5, hidden=1280),
        Shape("llama", llama=True, layers=4, dim=384, heads=6, kv_heads=2, hidden=1152),
    )
}
