"""The room of policies: what acts, how it is made, saved, found and connected to a world."""

from metta.agent.actors import Actor, PolicyActor, load_policy_from_uri
from metta.agent.architectures import ARCHITECTURES, PolicyChoice, make_policy
from metta.agent.artifact import load_policy, save_policy
from metta.agent.checkpoints import resolve_policy_uri
from metta.agent.encoders import Observations
from metta.agent.fast import FastConfig
from metta.agent.policy_agent import PolicyAgent, PolicyConfig, PolicyOutput, SequenceOutput
from metta.agent.token_rows import DecodedTokens

__all__ = [
    "ARCHITECTURES",
    "Actor",
    "DecodedTokens",
    "FastConfig",
    "Observations",
    "PolicyActor",
    "PolicyAgent",
    "PolicyChoice",
    "PolicyConfig",
    "PolicyOutput",
    "SequenceOutput",
    "load_policy",
    "load_policy_from_uri",
    "make_policy",
    "resolve_policy_uri",
    "save_policy",
]
