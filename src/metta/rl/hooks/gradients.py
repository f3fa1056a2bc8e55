"""Statistics of the gradient, of the whole policy and of each of its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from metta.rl.hooks.base_hook import TrainerHook

if TYPE_CHECKING:
    from metta.rl.trainer_state import TrainerState


class GradientHook(TrainerHook):
    """Every `interval` epochs: mean, standard deviation and norm of the last minibatch's gradient, after clipping.

    They become `grad/<statistic>` over all parameters and `grad/<module>/<statistic>` over those of each top-level
    module. One pass over the gradients and one transfer from the device: it costs less than an optimizer step.
    """

    def __init__(self, interval: int) -> None:
        self._interval = interval

    def on_train_phase_end(self, state: TrainerState) -> None:
        if (state.epoch + 1) % self._interval == 0 and state.policy is not None and state.stats_tracker is not None:
            for name, value in gradient_stats(state.policy).items():
                state.stats_tracker.add_gradient(name, value)


@torch.no_grad()
def gradient_stats(module: nn.Module) -> dict[str, float]:
    """Return `mean`, `std` and `norm` of all gradients together, and `<child>/mean`, ... of each child that has any.

    Elements count alike, whichever tensor they are in; parameters without a gradient are left out.
    """
    sizes: list[int] = []
    owners: list[str] = []
    gradients: list[Tensor] = []
    for name, parameter in module.named_parameters():
        if parameter.grad is not None:
            owners.append(name.partition(".")[0])
            sizes.append(parameter.grad.numel())
            gradients.append(parameter.grad)
    if not gradients:
        return {}
    sums = torch.stack([gradient.sum(dtype=torch.float64) for gradient in gradients])
    norms = torch.stack([torch.linalg.vector_norm(gradient, dtype=torch.float64) for gradient in gradients])
    table = torch.stack([sums, norms.square()]).tolist()
    stats = _stats(sizes, *table)
    for child in dict.fromkeys(owners):
        rows = [row for row, owner in enumerate(owners) if owner == child]
        own = _stats([sizes[row] for row in rows], *([column[row] for row in rows] for column in table))
        stats |= {f"{child}/{name}": value for name, value in own.items()}
    return stats


def _stats(sizes: list[int], sums: list[float], squares: list[float]) -> dict[str, float]:
    """Put together what is known of several tensors: elements, sums and sums of squares of each."""
    count = sum(sizes)
    mean, mean_square = sum(sums) / count, sum(squares) / count
    return {"mean": mean, "std": max(0.0, mean_square - mean * mean) ** 0.5, "norm": sum(squares) ** 0.5}
