"""Adam and the clipping of gradients: kernels of our own on a CPU, torch's elsewhere; the same formulas."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from metta.agent.cpu import has_kernels
from metta.rl import gradient_kernels as kernels

_STATE = ("exp_avg", "exp_avg_sq", "step")


def _unwrapped(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return what a decorator was put around."""
    inner: Callable[..., Any] = getattr(method, "__wrapped__", method)
    return inner


class KernelAdam(torch.optim.Adam):
    """torch's Adam, or AdamW with `decoupled_weight_decay`: its state, its settings, and one pass over memory a step.

    Rows that have never had a gradient are passed over, so a table that is half used costs half (LOG.md).
    """

    # torch wraps these to keep them out of `torch.compile`, and loads that compiler, two seconds, at the first call
    add_param_group = _unwrapped(torch.optim.Optimizer.add_param_group)
    state_dict = _unwrapped(torch.optim.Optimizer.state_dict)
    load_state_dict = _unwrapped(torch.optim.Optimizer.load_state_dict)  # which calls `__setstate__`

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        # by the addresses of weights: those of weights, gradients and state, [P, 5]
        self._addresses: dict[tuple[int, ...], NDArray[np.int64]] = {}

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Step every parameter that has a gradient."""
        groups = [(group, [p for p in group["params"] if p.grad is not None]) for group in self.param_groups]
        if closure is not None or not all(_fits(p) for _, parameters in groups for p in parameters):
            return super().step(closure)
        for group, parameters in groups:
            kernels.adam_steps(
                self._find(parameters),
                _sizes(parameters),
                float(group["lr"]),
                *map(float, group["betas"]),
                float(group["eps"]),
                float(group["weight_decay"]),
                bool(group["decoupled_weight_decay"]),
            )
            torch.autograd.graph.increment_version(parameters)
        return None

    # torch would wrap it in a mark for its profiler (and calls of hooks, of which there are none); between minibatches,
    # when nothing of that is in the cache, the mark takes as long as the step
    step.__dict__["hooked"] = True

    def __setstate__(self, state: dict[str, Any]) -> None:
        torch.optim.Adam.__setstate__(self, state)  # as in PolicyAgent._apply
        self._addresses = {}

    def _find(self, parameters: list[nn.Parameter]) -> NDArray[np.int64]:
        """Return the addresses [P, 5] of weights, gradients, moments and numbers of steps."""
        weights = tuple(parameter.data_ptr() for parameter in parameters)
        if weights not in self._addresses:
            states = [self._state_of(parameter) for parameter in parameters]
            rows = [(0, 0, *(state[name].data_ptr() for name in _STATE)) for state in states]
            self._addresses[weights] = np.array(rows, np.int64).reshape(-1, 5)
        addresses = self._addresses[weights]
        addresses[:, 0] = weights
        addresses[:, 1] = _gradients(parameters)
        return addresses

    def _state_of(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[parameter]
        if not state:  # as torch begins
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        return state


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Scale all gradients so that together their norm is at most `max_norm`; return the norm before, float32 []."""
    known = [parameter for parameter in parameters if parameter.grad is not None]
    if not all(_fits(parameter) for parameter in known):
        return torch.nn.utils.clip_grad_norm_(known, max_norm)
    addresses = np.array(_gradients(known), np.int64)
    norm = kernels.clip(addresses, _sizes(known), float(max_norm), np.empty(kernels.B, np.float32))
    return torch.tensor(norm, dtype=torch.float32)


def _sizes(parameters: list[nn.Parameter]) -> NDArray[np.int64]:
    return np.array([parameter.numel() for parameter in parameters], np.int64)


def _gradients(parameters: list[nn.Parameter]) -> list[int]:
    """Return the gradients' addresses."""
    return [parameter.grad.data_ptr() for parameter in parameters if parameter.grad is not None]


def _fits(parameter: nn.Parameter) -> bool:
    """Whether the kernels can work on a parameter and its gradient where they lie."""
    grad = parameter.grad
    assert grad is not None
    return (
        has_kernels(parameter)
        and parameter.dtype == grad.dtype == torch.float32
        and parameter.is_contiguous()
        and grad.is_contiguous()
    )
