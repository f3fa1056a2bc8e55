"""Optimizers, by name."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from metta.config import Config


class OptimizerConfig(Config):
    """Adam (Kingma and Ba 2015) or AdamW (Loshchilov and Hutter 2019)."""

    type: Literal["adam", "adamw"] = "adam"
    learning_rate: float = Field(2e-3, gt=0)
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.0, ge=0)


def build_optimizer(config: OptimizerConfig, policy: torch.nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer over every parameter of `policy`; fused, which runs one pass over memory a step."""
    kind = torch.optim.Adam if config.type == "adam" else torch.optim.AdamW
    return kind(
        policy.parameters(),
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        weight_decay=config.weight_decay,
        fused=True,
    )


def apply_settings(config: OptimizerConfig, optimizer: torch.optim.Optimizer) -> None:
    """Let the configuration's numbers hold from the next step on; a loaded optimizer brings those it was saved with."""
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate
        group["betas"] = (config.beta1, config.beta2)
        group["eps"] = config.eps
        group["weight_decay"] = config.weight_decay
        group["decoupled_weight_decay"] = config.type == "adamw"
