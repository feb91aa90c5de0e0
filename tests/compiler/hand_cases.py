"""The hand-built graphs by name, and inputs that fit them."""

from __future__ import annotations

import hand_models
import torch
from hand_programs import GELU, alibi, same_document, softcap, window

from tantra_dsl.graph.model import Graph, InputSpec
from tantra_dsl.graph.types import TensorType

CASES: dict[str, Graph] = {
    "gpt2": hand_models.gpt2(),
    "llama": hand_models.llama(),
    "windowed": hand_models.llama(mask=window(3), key="window"),
    "alibi": hand_models.llama(score=alibi(4), key="alibi"),
    "softcapped": hand_models.llama(score=softcap(5.0), sink=True, key="softcap"),
    "documents": hand_models.llama(mask=same_document(), fields=("doc",), key="documents"),
    "encoder_decoder": hand_models.encoder_decoder(),
    "alternating": hand_models.alternating(),
    "shared": hand_models.shared(),
    "tapped": hand_models.tapped(),
    "bert": hand_models.bert(activation=GELU),
    "vit": hand_models.vit(),
    "experts": hand_models.experts(),
    "scans": hand_models.scans(),
    "many_fields": hand_models.many_fields(),
}


def example_inputs(graph: Graph, batch: int = 2, length: int = 7, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random inputs for every input of the model."""
    generator = torch.Generator().manual_seed(seed)
    sizes = {"batch": batch}
    for number, symbol in enumerate(sorted(_symbols(graph) - {"batch"})):
        sizes[symbol] = length + number
    return {node.attr("name"): _values(node.type, node.attr("spec"), sizes, generator) for node in graph.main.inputs}


def _symbols(graph: Graph) -> set[str]:
    return {name for node in graph.main.inputs for dim in node.type.dims for name, _ in dim.size.terms}


def _values(type: TensorType, spec: InputSpec, sizes: dict[str, int], generator: torch.Generator) -> torch.Tensor:
    shape = [dim.size.value(sizes) for dim in type.dims]
    if type.dtype == "float":
        return torch.randn(shape, generator=generator)
    return torch.randint(0, spec.limit or 3, shape, generator=generator)
