"""AGaLiTe against the plain loops of the paper's recurrence (Pramanik et al. 2023, sections 3 and 4)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from metta.agent.agalite import AgaliteAttention, AgaliteConfig, AgaliteMemory, discounted_sum

Array = NDArray[np.float64]


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def plain_attention(layer: AgaliteAttention, inputs: Array, reset: NDArray[np.bool_]) -> Array:
    """One agent, one head after the other, one tick after the other: [T, width] -> [T, width]."""
    weights = {name: tensor.detach().double().numpy() for name, tensor in layer.state_dict().items()}
    T, H, D, eta, r = len(inputs), layer.heads, layer.head_width, layer.eta, layer.r
    attended = np.zeros((T, H * D))
    for head in range(H):
        v_k, k_k, s, tick = np.zeros((r, D)), np.zeros((r, eta * D)), np.zeros(eta * D), 0
        for t in range(T):
            if reset[t]:
                v_k, k_k, s, tick = np.zeros((r, D)), np.zeros((r, eta * D)), np.zeros(eta * D), 0
            tick += 1
            projected = (weights["project.weight"] @ inputs[t] + weights["project.bias"]).reshape(5, H, D)[:, head]
            k, q, v, b, g = projected
            p1, p2, p3 = (weights["expand.weight"] @ inputs[t] + weights["expand.bias"]).reshape(3, H, eta)[:, head]
            phi_k = np.outer(np.maximum(p1, 0), np.maximum(k, 0)).reshape(-1)
            phi_q = np.outer(np.maximum(p2, 0), np.maximum(q, 0)).reshape(-1)
            gamma = np.outer(sigmoid(p3), sigmoid(g)).reshape(-1)
            beta = sigmoid(b)
            s = (1 - gamma) * s + gamma * phi_k
            total = np.zeros(D)
            for i in range(r):
                wave = math.cos(2 * math.pi * i / r * tick)
                v_k[i] = (1 - beta) * v_k[i] + wave * beta * v
                k_k[i] = (1 - gamma) * k_k[i] + wave * gamma * phi_k
                total += v_k[i] * (k_k[i] @ phi_q)
            attended[t, head * D : (head + 1) * D] = total / (2 * r * (s @ phi_q) + 1e-5)
    result: Array = attended @ weights["out.weight"].T + weights["out.bias"]
    return result


def empty_memory(layer: AgaliteAttention, batch: int) -> AgaliteMemory:
    features = layer.eta * layer.head_width
    return AgaliteMemory(
        torch.zeros(batch, 1),
        torch.zeros(batch, layer.r, layer.heads, features),
        torch.zeros(batch, layer.r, layer.heads, layer.head_width),
        torch.zeros(batch, layer.heads, features),
    )


@pytest.mark.parametrize(("eta", "r"), [(4, 2), (2, 5), (1, 1), (3, 7)])
def test_equals_a_plain_loop_over_the_recurrence(eta: int, r: int) -> None:
    torch.manual_seed(0)
    layer = AgaliteAttention(AgaliteConfig(width=12, num_heads=3, head_width=5, eta=eta, r=r))
    inputs, reset = torch.randn(4, 23, 12), torch.rand(4, 23) < 0.1
    with torch.no_grad():
        whole, _ = layer(inputs, empty_memory(layer, 4), reset)
        first, memory = layer(inputs[:, :11], empty_memory(layer, 4), reset[:, :11])
        second, _ = layer(inputs[:, 11:], memory, reset[:, 11:])
    expected = np.stack([plain_attention(layer, inputs[b].double().numpy(), reset[b].numpy()) for b in range(4)])
    np.testing.assert_allclose(whole.numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(torch.cat([first, second], 1).numpy(), expected, atol=1e-4)


def test_attention_with_an_empty_memory_is_finite() -> None:
    layer = AgaliteAttention(AgaliteConfig())
    out, _ = layer(torch.zeros(2, 3, 64), empty_memory(layer, 2), torch.zeros(2, 3, dtype=torch.bool))
    assert torch.isfinite(out).all()


def test_the_gradient_of_the_discounted_sum_is_that_of_autograd() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(2, 6, 3, 4, dtype=torch.float64, requires_grad=True)
    keep = torch.rand(2, 6, 1, 4, dtype=torch.float64, requires_grad=True)
    start = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)

    def plain(inputs: Tensor, keep: Tensor, start: Tensor) -> Tensor:
        sums, last = [], start
        for t in range(inputs.shape[1]):
            last = keep[:, t] * last + inputs[:, t]
            sums.append(last)
        return torch.stack(sums, 1)

    torch.testing.assert_close(discounted_sum(inputs, keep, start), plain(inputs, keep, start))
    assert torch.autograd.gradcheck(discounted_sum, (inputs, keep, start))
