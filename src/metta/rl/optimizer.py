"""Optimizers, by name."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import nn

from metta.config import Config
from metta.rl.adam import KernelAdam

NOT_HIDDEN = ("policy_head", "value_head")  # layers whose matrices Muon leaves to AdamW, as its author does with heads


class OptimizerConfig(Config):
    """Adam (Kingma and Ba 2015), AdamW (Loshchilov and Hutter 2019), or Muon (Jordan et al. 2024) with AdamW."""

    type: Literal["adam", "adamw", "muon"] = Field(
        "adam", description="muon: hidden matrices by Muon, all else by AdamW, with the same rate and weight decay"
    )
    learning_rate: float = Field(2e-3, gt=0)
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    eps: float = Field(1e-8, gt=0)
    momentum: float = Field(0.95, ge=0, lt=1, description="of Muon")
    weight_decay: float = Field(0.0, ge=0)


def build_optimizer(config: OptimizerConfig, policy: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer over every parameter of `policy`."""
    if config.type == "muon":
        return MuonWithAdamW(config, policy)
    return _adam(config, list(policy.parameters()), decoupled=config.type == "adamw")


def apply_settings(config: OptimizerConfig, optimizer: torch.optim.Optimizer) -> None:
    """Let the configuration's numbers hold from the next step on; a loaded optimizer brings those it was saved with."""
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate
        group["weight_decay"] = config.weight_decay
        if "betas" in group:
            group["betas"] = (config.beta1, config.beta2)
            group["eps"] = config.eps
            group["decoupled_weight_decay"] = config.type != "adam"
        else:
            group["momentum"] = config.momentum


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon for the matrices of hidden layers, AdamW for embeddings, heads, biases and gains.

    Muon steps along the orthogonalised momentum (https://kellerjordan.github.io/posts/muon). Its rate is scaled so that
    a step is as large as AdamW's (Liu et al. 2025, https://arxiv.org/abs/2502.16982, section 2.2): a rate that suits
    Adam suits it.
    """

    def __init__(self, config: OptimizerConfig, policy: nn.Module) -> None:
        matrices, others = split_parameters(policy)
        self._parts: dict[str, torch.optim.Optimizer] = {}
        if matrices:
            self._parts["muon"] = torch.optim.Muon(
                matrices,
                lr=config.learning_rate,
                momentum=config.momentum,
                weight_decay=config.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
        if others:
            self._parts["adamw"] = _adam(config, others, decoupled=True)
        super().__init__([*matrices, *others], {})
        self.param_groups = [group for part in self._parts.values() for group in part.param_groups]

    def step(self, closure: Any = None) -> Any:
        """Step both."""
        assert closure is None
        for part in self._parts.values():
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of both, by name."""
        return {name: part.state_dict() for name, part in self._parts.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the state of both."""
        for name, part in self._parts.items():
            part.load_state_dict(state_dict[name])
        self.param_groups = [group for part in self._parts.values() for group in part.param_groups]


def split_parameters(policy: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the matrices of hidden layers (linear and recurrent), and all other parameters."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for path, module in policy.named_modules():
        is_hidden = isinstance(module, nn.Linear | nn.RNNBase) and path.rpartition(".")[2] not in NOT_HIDDEN
        for parameter in module.parameters(recurse=False):
            (matrices if is_hidden and parameter.ndim == 2 else others).append(parameter)
    return matrices, others


def _adam(config: OptimizerConfig, parameters: list[nn.Parameter], *, decoupled: bool) -> torch.optim.Optimizer:
    return KernelAdam(
        parameters,
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        weight_decay=config.weight_decay,
        decoupled_weight_decay=decoupled,
        fused=True,
    )
