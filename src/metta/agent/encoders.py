"""What turns one observation into numbers for the core: chosen by the observation space alone.

Every encoder gives float32 [..., width] with its nonlinearity done; cores and heads do not know which one it was.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from metta.agent.token_encoder import TokenEncoder
from metta.agent.token_rows import DecodedTokens, TokenLuts
from metta.envs import BoxSpace, DiscreteSpace, Space, TokenSpace

Observations = Tensor | DecodedTokens


class BoxEncoder(nn.Module):
    """Real vectors or images [..., *shape], flattened: two tanh layers. Bytes are divided by 255."""

    def __init__(self, space: BoxSpace, width: int) -> None:
        super().__init__()
        self.width = width
        self.num_axes = len(space.shape)
        self.divisor = 255.0 if space.dtype == "uint8" else 1.0
        self.first = orthogonal(nn.Linear(math.prod(space.shape), width))
        self.second = orthogonal(nn.Linear(width, width))

    def forward(self, observations: Observations, luts: TokenLuts | None) -> Tensor:
        """Encode float or uint8 [..., *shape]; `luts` is for tokens and not used."""
        assert isinstance(observations, Tensor)
        leading = observations.shape[: observations.ndim - self.num_axes]
        flat = observations.reshape(*leading, -1).to(self.first.weight.dtype) / self.divisor
        encoded: Tensor = torch.tanh(self.second(torch.tanh(self.first(flat))))
        return encoded


class DiscreteEncoder(nn.Module):
    """One of n numbers [...]: a learned row each."""

    def __init__(self, space: DiscreteSpace, width: int) -> None:
        super().__init__()
        self.width = width
        self.rows = nn.Embedding(space.n, width)

    def forward(self, observations: Observations, luts: TokenLuts | None) -> Tensor:
        """Look up integers [...] in 0..n-1; `luts` is for tokens and not used."""
        assert isinstance(observations, Tensor)
        encoded: Tensor = self.rows(observations.long())
        return encoded


Encoder = TokenEncoder | BoxEncoder | DiscreteEncoder


def make_encoder(space: Space, width: int) -> Encoder:
    """Build the encoder for `space`."""
    if isinstance(space, TokenSpace):
        return TokenEncoder(space, width)
    if isinstance(space, BoxSpace):
        return BoxEncoder(space, width)
    return DiscreteEncoder(space, width)


def orthogonal(layer: nn.Linear, gain: float = math.sqrt(2)) -> nn.Linear:
    """Give a linear layer orthogonal weights times `gain` and no bias; returns it."""
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer
