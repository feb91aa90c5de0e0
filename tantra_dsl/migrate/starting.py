"""One weight of a model, started as the whole model would start it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tantra_dsl.graph.model import Init
from tantra_dsl.migrate.alignment import Place


def start(place: Place, seed: int) -> Tensor:
    """The weight at ``place`` in float32 as ``compile(seed=seed)`` starts it: every weight draws by its path alone."""
    from tantra_compiler.runtime.weights import Part, init_weights

    init: Init = place.node.attr("init")
    root = part = Part()
    *parts, name = place.path.split(".")
    for each in parts:
        part._modules[each] = part = Part()
    part._parameters[name] = weight = nn.Parameter(torch.empty(place.shape))
    root.inits = {place.path: (init.kind, init.values)}  # type: ignore[assignment]
    init_weights(root, seed)
    return weight.detach()
