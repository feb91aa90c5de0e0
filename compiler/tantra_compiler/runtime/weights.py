"""Starting the weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

Init = tuple[str, tuple[float, ...]]
"""A kind of start and its numbers, as the spec resolves them."""


def init_weights(model: nn.Module, seed: int) -> None:
    """Start every weight of ``model`` by the ``inits`` of its modules.

    Each weight draws from a generator of its own, seeded by ``seed`` and the weight's path: one weight more or less
    changes no other.
    """
    with torch.no_grad():
        for path, weight, (kind, values) in weight_inits(model):
            digest = hashlib.blake2b(f"{seed}:{path}".encode(), digest_size=8).digest()
            generator = torch.Generator(weight.device).manual_seed(int.from_bytes(digest, "big") >> 1)
            start_weight(weight, kind, values, generator)


def weight_inits(model: nn.Module) -> Iterator[tuple[str, Tensor, Init]]:
    """Every weight with its path and its start."""
    for prefix, module in model.named_modules():
        inits: dict[str, Init] = getattr(module, "inits", {})
        for name, init in inits.items():
            yield f"{prefix}.{name}" if prefix else name, weight_at(module, name), init


def weight_at(module: nn.Module, path: str) -> Tensor:
    """The weight at the dotted ``path`` below ``module``, whatever else its parts may be called."""
    *parents, name = path.split(".")
    for parent in parents:
        child = module._modules[parent]
        assert child is not None
        module = child
    weight = {**module._parameters, **module._buffers}[name]
    assert weight is not None
    return weight


class Part(nn.Module):
    """Holds weights under a name of its own."""

    def __getattr__(self, name: str) -> Any:
        """A child or weight; untyped, because what a part holds differs from part to part."""
        return super().__getattr__(name)


def child(module: nn.Module, name: str) -> Any:
    """The child or weight called ``name``, also where a module has a method of that name."""
    for table in (module._modules, module._parameters, module._buffers):
        if name in table:
            return table[name]
    raise AttributeError(name)


def start_weight(weight: Tensor, kind: str, values: tuple[float, ...], generator: torch.Generator) -> None:
    """Fill ``weight`` in place; fans are those of torch's own init functions."""
    if kind == "normal":
        weight.normal_(values[0], values[1], generator=generator)
    elif kind == "truncated_normal":
        mean, std, low, high = values
        nn.init.trunc_normal_(weight, mean, std, mean + low * std, mean + high * std, generator=generator)
    elif kind == "uniform":
        weight.uniform_(values[0], values[1], generator=generator)
    elif kind == "constant":
        weight.fill_(values[0])
    elif kind == "xavier_uniform":
        nn.init.xavier_uniform_(weight, values[0], generator=generator)
    elif kind == "xavier_normal":
        nn.init.xavier_normal_(weight, values[0], generator=generator)
    elif kind == "kaiming_uniform":
        nn.init.kaiming_uniform_(weight, values[0], generator=generator)
    elif kind == "identity":
        weight.zero_().diagonal(dim1=-2, dim2=-1).fill_(1.0)
    else:
        assert kind == "values", kind
        weight.copy_(torch.tensor(values, dtype=torch.float64).view(weight.shape))
