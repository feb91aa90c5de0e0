"""Optimizers over named weights: groups, learning rates, and state that saves by weight name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tantra_dsl.graph.roles import WeightRole
from tantra_dsl.semantics.recipe import OptimizerChoice

DEFAULT_LR = {"adamw": 1e-3, "adam": 1e-3, "sgd": 0.1, "muon": 0.02}
Named = dict[str, nn.Parameter]


@dataclass(frozen=True)
class Optimizers:
    """One or two torch optimizers that step together, each weight in exactly one of them.

    ``names`` tells each weight's name; ``peaks`` the peak learning rate of each optimizer.
    """

    members: tuple[torch.optim.Optimizer, ...]
    names: Mapping[Tensor, str]
    peaks: tuple[float, ...]

    def set_factor(self, factor: float) -> float:
        """Sets every learning rate to ``factor`` times its peak; returns the first."""
        for member, peak in zip(self.members, self.peaks, strict=True):
            for group in member.param_groups:
                group["lr"] = peak * factor
        return self.peaks[0] * factor

    def step(self) -> None:
        """Applies the gradients and drops them."""
        for member in self.members:
            member.step()
            member.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Every state tensor, under ``weight name/state name``."""
        return {
            f"{self.names[weight]}/{key}": value
            for member in self.members
            for weight, state in member.state.items()
            for key, value in state.items()
            if isinstance(value, Tensor)
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Restores what ``state`` returned, to the bit."""
        owners = {self.names[weight]: (member, weight) for member, weight in self._weights()}
        for path, value in state.items():
            name, _, key = path.rpartition("/")
            member, weight = owners[name]
            device = torch.device("cpu") if key == "step" and not _steps_on_device(member) else weight.device
            member.state[weight][key] = value.to(device, copy=True)

    def _weights(self) -> Iterable[tuple[torch.optim.Optimizer, nn.Parameter]]:
        return (
            (member, weight) for member in self.members for group in member.param_groups for weight in group["params"]
        )


def _steps_on_device(member: torch.optim.Optimizer) -> bool:
    return bool(member.param_groups[0].get("fused") or member.param_groups[0].get("capturable"))


def make_optimizers(module: nn.Module, choice: OptimizerChoice, roles: Mapping[str, WeightRole], vocab: int,
                    peak: float | None) -> Optimizers:  # fmt: skip
    """The optimizers of a recipe for the weights of ``module``; ``peak`` stands in for an lr that is not set."""
    weights = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
    lr = choice.lr or peak or DEFAULT_LR[choice.kind]
    names: dict[Tensor, str] = {weight: name for name, weight in weights.items()}
    if choice.kind != "muon":
        return Optimizers((_plain(choice, weights, roles, lr),), names, (lr,))
    hidden = {name: weight for name, weight in weights.items() if _is_hidden(name, weight, roles, vocab)}
    rest = {name: weight for name, weight in weights.items() if name not in hidden}
    members, peaks = [], []
    if hidden:
        members.append(_muon(choice, hidden, roles, lr))
        peaks.append(lr)
    if rest:
        members.append(_adam(torch.optim.AdamW, choice, rest, roles, choice.adamw_lr))
        peaks.append(choice.adamw_lr)
    return Optimizers(tuple(members), names, tuple(peaks))


def _is_hidden(name: str, weight: nn.Parameter, roles: Mapping[str, WeightRole], vocab: int) -> bool:
    """``WeightRole.is_hidden_matrix``; of a weight without a role, by its name."""
    role = roles.get(name, WeightRole(True, frozenset({"linear"} if name.endswith("weight") else ())))
    return role.is_hidden_matrix(weight.shape, vocab)


def _groups(weights: Named, roles: Mapping[str, WeightRole], decay: float) -> list[dict[str, Any]]:
    """Weights that decay (matrices whose module does not say otherwise) and those that do not."""
    decayed = {
        name for name, weight in weights.items() if weight.ndim >= 2 and (name not in roles or roles[name].decay)
    }
    with_decay = [weight for name, weight in weights.items() if name in decayed]
    without = [weight for name, weight in weights.items() if name not in decayed]
    groups = [{"params": with_decay, "weight_decay": decay}, {"params": without, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _plain(
    choice: OptimizerChoice, weights: Named, roles: Mapping[str, WeightRole], lr: float
) -> torch.optim.Optimizer:
    if choice.kind == "sgd":
        groups = _groups(weights, roles, choice.weight_decay)
        return torch.optim.SGD(groups, lr, choice.momentum, nesterov=choice.momentum > 0, foreach=True)
    return _adam(torch.optim.AdamW if choice.kind == "adamw" else torch.optim.Adam, choice, weights, roles, lr)


def _adam(kind: type[torch.optim.Adam], choice: OptimizerChoice, weights: Named, roles: Mapping[str, WeightRole],
          lr: float) -> torch.optim.Optimizer:  # fmt: skip
    decay = 0.0 if kind is torch.optim.Adam else choice.weight_decay
    return kind(_groups(weights, roles, decay), lr, choice.betas, choice.eps, fused=True)


def _muon(choice: OptimizerChoice, hidden: Named, roles: Mapping[str, WeightRole], lr: float) -> torch.optim.Optimizer:
    groups = _groups(hidden, roles, choice.weight_decay)
    return torch.optim.Muon(groups, lr, momentum=choice.momentum)
