"""`fast`: no memory. Encoder, two layers, heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from metta.agent.dense import dense
from metta.agent.encoders import orthogonal
from metta.agent.policy_agent import PolicyAgent, PolicyConfig, State
from metta.envs import Space


class FastConfig(PolicyConfig):
    """The default architecture."""

    architecture: Literal["fast"] = "fast"
    width: int = Field(64, ge=1, le=4096, description="of the table's rows and of the hidden layer")


class FastPolicy(PolicyAgent):
    """The encoder, one hidden layer of the same width, heads."""

    config_class = FastConfig

    def __init__(self, config: FastConfig, space: Space, action_names: Sequence[str]) -> None:
        super().__init__(config, space, action_names)
        self.hidden = orthogonal(nn.Linear(config.width, config.width))

    def core_step(self, encoded: Tensor, state: State) -> tuple[Tensor, State]:
        """One layer; there is no state."""
        return dense(encoded, self.hidden, relu=True)[0], state

    def core_sequence(self, encoded: Tensor, state: State, reset: Tensor) -> Tensor:
        """The same at every tick."""
        return self.core_step(encoded, state)[0]
