"""`agalite`: the same encoder before a small Approximate Gated Linear Transformer, then heads.

After S. Pramanik, E. Elelimy, M. C. Machado, A. White, "AGaLiTe: Approximate Gated Linear Transformers for Online
Reinforcement Learning", TMLR 2024, https://arxiv.org/abs/2310.15719. Attention without a context window: its memory is
a few vectors a head, so a tick costs the same however long the episode is.

B segments, T ticks, N agents, H heads, D width of a head, M = eta * D features, R terms of the approximation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from metta.agent.encoders import orthogonal
from metta.agent.gradients import apply
from metta.agent.policy_agent import PolicyAgent, PolicyConfig, State
from metta.envs import Space

EPSILON = 1e-5  # keeps attention finite while nothing is remembered


class AgaliteConfig(PolicyConfig):
    """A small gated linear transformer."""

    architecture: Literal["agalite"] = "agalite"
    width: int = Field(64, ge=1, le=4096, description="of the encoder and of the transformer")
    num_layers: int = Field(2, ge=1, le=32)
    num_heads: int = Field(4, ge=1, le=64)
    head_width: int = Field(16, ge=1, le=512)
    feed_forward_width: int = Field(128, ge=1, le=8192)
    eta: int = Field(4, ge=1, le=32, description="features a key or query is expanded to, as a multiple of its width")
    r: int = Field(2, ge=1, le=32, description="cosine terms that stand for the matrix of exact gated attention")
    gate_bias: float = Field(2.0, description="of the gates around each block: at the start they let the input through")


class AgalitePolicy(PolicyAgent):
    """The encoder, transformer layers, heads.

    The state holds for each layer i: `tick_i` [N, 1] ticks of the episode modulo r, `keys_i` [N, R, H, M],
    `values_i` [N, R, H, D] and `norm_i` [N, H, M].
    """

    config_class = AgaliteConfig

    def __init__(self, config: AgaliteConfig, space: Space, action_names: Sequence[str]) -> None:
        super().__init__(config, space, action_names)
        self.layers = nn.ModuleList(AgaliteLayer(config) for _ in range(config.num_layers))

    def initial_state(self, batch: int) -> State:
        """Nothing remembered."""
        shapes = self._shapes()
        return {name: torch.zeros(batch, *shape, device=self.device) for name, shape in shapes.items()}

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        config = self.config
        assert isinstance(config, AgaliteConfig)
        r, heads, width, features = config.r, config.num_heads, config.head_width, config.eta * config.head_width
        one: dict[str, tuple[int, ...]] = {
            "tick": (1,), "keys": (r, heads, features), "values": (r, heads, width), "norm": (heads, features),
        }  # fmt: skip
        return {f"{name}_{i}": shape for i in range(config.num_layers) for name, shape in one.items()}

    def core_step(self, encoded: Tensor, state: State) -> tuple[Tensor, State]:
        """A segment of one tick; the state has been reset already."""
        no_reset = torch.zeros(encoded.shape[0], 1, dtype=torch.bool, device=encoded.device)
        outputs, state = self._run(encoded.unsqueeze(1), state, no_reset)
        return outputs.squeeze(1), state

    def core_sequence(self, encoded: Tensor, state: State, reset: Tensor) -> Tensor:
        """All ticks at once; what was remembered does not pass a reset."""
        return self._run(encoded, state, reset)[0]

    def _run(self, encoded: Tensor, state: State, reset: Tensor) -> tuple[Tensor, State]:
        hidden = encoded
        after: State = {}
        for i, layer in enumerate(self.layers):
            memory = AgaliteMemory(*(state[f"{name}_{i}"] for name in AgaliteMemory._fields))
            hidden, memory = layer(hidden, memory, reset)
            after |= {f"{name}_{i}": tensor for name, tensor in zip(AgaliteMemory._fields, memory, strict=True)}
        return hidden, after


class AgaliteMemory(NamedTuple):
    """What one layer remembers."""

    tick: Tensor  # [B, 1]
    keys: Tensor  # [B, R, H, M]
    values: Tensor  # [B, R, H, D]
    norm: Tensor  # [B, H, M]


class AgaliteLayer(nn.Module):
    """Attention, then a feed-forward block; a layer norm before and a gate after each (as in GTrXL)."""

    def __init__(self, config: AgaliteConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = AgaliteAttention(config)
        self.attention_gate = Gate(config.width, config.gate_bias)
        self.block_norm = nn.LayerNorm(config.width)
        self.block = nn.Sequential(
            orthogonal(nn.Linear(config.width, config.feed_forward_width)),
            nn.ReLU(),
            orthogonal(nn.Linear(config.feed_forward_width, config.width)),
        )
        self.block_gate = Gate(config.width, config.gate_bias)

    def forward(self, inputs: Tensor, memory: AgaliteMemory, reset: Tensor) -> tuple[Tensor, AgaliteMemory]:
        """Map [B, T, width] to [B, T, width], and the memory before the first tick to that after the last."""
        attended, memory = self.attention(self.attention_norm(inputs), memory, reset)
        hidden = self.attention_gate(inputs, torch.relu(attended))
        return self.block_gate(hidden, torch.relu(self.block(self.block_norm(hidden)))), memory


class AgaliteAttention(nn.Module):
    """Gated linear attention with learned feature maps, its matrix memory approximated by R vectors."""

    def __init__(self, config: AgaliteConfig) -> None:
        super().__init__()
        self.heads, self.head_width, self.eta, self.r = config.num_heads, config.head_width, config.eta, config.r
        self.project = orthogonal(nn.Linear(config.width, 5 * self.heads * self.head_width))
        self.expand = orthogonal(nn.Linear(config.width, 3 * self.heads * self.eta))
        self.out = orthogonal(nn.Linear(self.heads * self.head_width, config.width))

    def forward(self, inputs: Tensor, memory: AgaliteMemory, reset: Tensor) -> tuple[Tensor, AgaliteMemory]:
        """Attend over the past of the episode: inputs [B, T, width], reset bool [B, T]."""
        B, T, _ = inputs.shape
        heads = self.project(inputs).reshape(B, T, 5, self.heads, self.head_width)
        key, query, value, beta, gamma = heads.unbind(2)  # [B, T, H, D] each
        p1, p2, p3 = self.expand(inputs).reshape(B, T, 3, self.heads, self.eta).unbind(2)  # [B, T, H, eta] each
        # Section 3.1, feature maps and gates by outer products: phi(k) = vec(relu(p1) x relu(k)), the same with p2 for
        # queries, and vec(sigmoid(p3) x sigmoid(gamma)). https://arxiv.org/abs/2310.15719
        key, query = _outer(torch.relu(p1), torch.relu(key)), _outer(torch.relu(p2), torch.relu(query))
        gamma, beta = _outer(torch.sigmoid(p3), torch.sigmoid(gamma)), torch.sigmoid(beta)

        tick = _ticks(memory.tick, reset, self.r)  # [B, T]
        # The frequencies: omega_k = 2 pi k / r over one period, k = 0..r-1 (https://arxiv.org/abs/2310.15719)
        omega = 2 * math.pi / self.r * torch.arange(self.r, device=inputs.device)
        wave = torch.cos(tick[..., None] * omega)[..., None, None]  # [B, T, R, 1, 1]

        # Section 4, the recurrences of AGaLiTe. https://arxiv.org/abs/2310.15719
        #   v_k(t) = (1 - beta) v_k(t-1) + cos(omega_k t) beta v        for each k
        #   k_k(t) = (1 - gamma) k_k(t-1) + cos(omega_k t) gamma phi(k) for each k
        #   s(t) = (1 - gamma) s(t-1) + gamma phi(k)
        keep = (~reset)[..., None, None].to(inputs.dtype)
        keep_key, keep_value = keep * (1 - gamma), keep * (1 - beta)
        key = gamma * key
        norms = discounted_sum(key, keep_key, memory.norm)
        keys = discounted_sum(wave * key.unsqueeze(2), keep_key.unsqueeze(2), memory.keys)
        values = discounted_sum(wave * (beta * value).unsqueeze(2), keep_value.unsqueeze(2), memory.values)

        # Section 4, a(t) = sum_k v_k(t) (k_k(t) . phi(q)) / (2 r s(t) . phi(q)). https://arxiv.org/abs/2310.15719
        match = (keys * query.unsqueeze(2)).sum(-1, keepdim=True)  # [B, T, R, H, 1]
        total = (norms * query).sum(-1, keepdim=True)  # [B, T, H, 1]
        attended = (values * match).sum(2) / (2 * self.r * total + EPSILON)
        after = AgaliteMemory(tick[:, -1:], keys[:, -1], values[:, -1], norms[:, -1])
        return self.out(attended.reshape(B, T, -1)), after


class Gate(nn.Module):
    """The gate of GTrXL around a block: a GRU whose state is the block's input, and whose input is its output.

    E. Parisotto et al., "Stabilizing Transformers for Reinforcement Learning", section 3.2, GRU-type gating,
    https://arxiv.org/abs/1910.06764.
    """

    def __init__(self, width: int, bias: float) -> None:
        super().__init__()
        self.width = width
        self.from_output = nn.Linear(width, 3 * width, bias=False)
        self.from_input = nn.Linear(width, 2 * width, bias=False)
        self.from_reset = nn.Linear(width, width, bias=False)
        self.bias = nn.Parameter(torch.full((width,), bias))
        for layer in (self.from_output, self.from_input, self.from_reset):
            for part in torch.split(layer.weight, width):
                nn.init.orthogonal_(part, math.sqrt(2))

    def forward(self, inputs: Tensor, output: Tensor) -> Tensor:
        """Mix [..., width] of the block's input and its output."""
        reset_y, update_y, new_y = torch.split(self.from_output(output), self.width, dim=-1)
        reset_x, update_x = torch.split(self.from_input(inputs), self.width, dim=-1)
        # r = sigmoid(Wr y + Ur x), z = sigmoid(Wz y + Uz x - b), h = tanh(Wg y + Ug (r x)), (1 - z) x + z h.
        # Parisotto et al., section 3.2, https://arxiv.org/abs/1910.06764
        update = torch.sigmoid(update_y + update_x - self.bias)
        new = torch.tanh(new_y + self.from_reset(torch.sigmoid(reset_y + reset_x) * inputs))
        return inputs + update * (new - inputs)  # not `lerp`, which takes no mixture of precisions


def discounted_sum(inputs: Tensor, keep: Tensor, start: Tensor) -> Tensor:
    """Return y [B, T, ...] with y(t) = keep(t) y(t-1) + inputs(t) and y(-1) = start.

    Args:
        inputs: [B, T, ...].
        keep: the same number of axes; of length 1 where it is the same along one.
        start: [B, ...].
    """
    result: Tensor = apply(_DiscountedSum, inputs, keep, start)
    return result


class _DiscountedSum(torch.autograd.Function):
    """The recurrence and its gradient, each one pass over the ticks; autograd over the loop keeps thrice as much."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, keep: Tensor, start: Tensor) -> Tensor:
        sums = torch.empty_like(inputs)
        last = start
        for t in range(inputs.shape[1]):
            last = torch.addcmul(inputs[:, t], keep[:, t], last, out=sums[:, t])
        ctx.save_for_backward(keep, start, sums)
        return sums

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # With g(t) the gradient of y(t) from all later ticks: g(t) = given(t) + keep(t+1) g(t+1); then
        # d inputs(t) = g(t), d keep(t) = g(t) y(t-1), d start = keep(0) g(0).
        keep, start, sums = ctx.saved_tensors
        (given,) = grad_outputs
        grad = given.clone(memory_format=torch.contiguous_format)
        grad_keep = torch.empty_like(keep)
        for t in range(sums.shape[1] - 1, -1, -1):
            if t + 1 < sums.shape[1]:
                grad[:, t].addcmul_(keep[:, t + 1], grad[:, t + 1])
            before = sums[:, t - 1] if t > 0 else start
            grad_keep[:, t] = (grad[:, t] * before).sum_to_size(keep[:, t].shape)
        return grad, grad_keep, keep[:, 0] * grad[:, 0]


def _outer(left: Tensor, right: Tensor) -> Tensor:
    """Return the flattened outer product [..., eta * D] of [..., eta] and [..., D]."""
    return (left.unsqueeze(-1) * right.unsqueeze(-2)).flatten(-2)


def _ticks(before: Tensor, reset: Tensor, period: int) -> Tensor:
    """Return float32 [B, T]: ticks since the episode began, from 1, modulo `period` (the cosines repeat after it)."""
    T = reset.shape[1]
    number = torch.arange(1, T + 1, device=reset.device).expand_as(reset)
    # The tick before the segment's first belongs to the same episode unless a reset stands between.
    last_reset = torch.where(reset, number, 0).cummax(dim=1).values
    ticks = torch.where(last_reset > 0, number - last_reset + 1, number + before.long())
    return (ticks % period).to(before.dtype)
