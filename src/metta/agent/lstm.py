"""`lstm`: the same encoder before one LSTM layer, then heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from metta.agent.policy_agent import PolicyAgent, PolicyConfig, State
from metta.agent.recurrent import lstm
from metta.envs import Space


class LstmConfig(PolicyConfig):
    """A recurrent policy."""

    architecture: Literal["lstm"] = "lstm"
    width: int = Field(64, ge=1, le=4096, description="of the encoder")
    hidden: int = Field(128, ge=1, le=4096, description="of the LSTM")

    @property
    def core_width(self) -> int:
        """What the LSTM says."""
        return self.hidden


class LstmPolicy(PolicyAgent):
    """The encoder, LSTM, heads. The state is {"h": [N, hidden], "c": [N, hidden]}."""

    config_class = LstmConfig

    def __init__(self, config: LstmConfig, space: Space, action_names: Sequence[str]) -> None:
        super().__init__(config, space, action_names)
        self.hidden = config.hidden
        self.lstm = nn.LSTM(config.width, config.hidden, batch_first=True)
        for name, parameter in self.lstm.named_parameters():
            if "weight" in name:
                nn.init.orthogonal_(parameter)
            else:
                nn.init.zeros_(parameter)
        # The second quarter of the bias is the forget gate's: open at the start, so that gradients reach back.
        nn.init.ones_(self.lstm.get_parameter("bias_ih_l0")[config.hidden : 2 * config.hidden])

    def initial_state(self, batch: int) -> State:
        """Nothing remembered."""
        return {name: torch.zeros(batch, self.hidden, device=self.device) for name in ("h", "c")}

    def core_step(self, encoded: Tensor, state: State) -> tuple[Tensor, State]:
        """One tick; the state has been reset already."""
        no_reset = torch.zeros(len(encoded), 1, dtype=torch.bool, device=encoded.device)
        outputs, h, c = lstm(self.lstm, encoded.unsqueeze(1), state["h"], state["c"], no_reset)
        return outputs.squeeze(1), {"h": h, "c": c}

    def core_sequence(self, encoded: Tensor, state: State, reset: Tensor) -> Tensor:
        """All ticks at once; what was remembered does not pass a reset."""
        return lstm(self.lstm, encoded, state["h"], state["c"], reset).hidden
