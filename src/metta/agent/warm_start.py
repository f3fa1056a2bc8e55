"""Starting from another policy's weights, also where worlds differ: what both know by name is carried over."""

from __future__ import annotations

import torch
from torch import Tensor

from metta.agent.policy_agent import PolicyAgent
from metta.agent.token_encoder import FeatureRows, TokenEncoder, TokenLayout
from metta.agent.token_kernels import ALWAYS, WHERE_PLACE
from metta.envs import TokenSpace
from metta.errors import PolicyMismatchError


def warm_start(target: PolicyAgent, source: PolicyAgent) -> list[str]:
    """Give `target` the weights of `source`, which stays as it is; return what of `target` begins fresh, by name.

    Rows of the table belong to a feature, a value (an object's or an action's name) and a place by its offset from the
    window's centre; rows of the policy's head to an action. Those that only `target` knows keep their initial values.

    Raises:
        PolicyMismatchError: another architecture or other sizes, or observations that are no tokens and differ.
    """
    _check_same_kind(target, source)
    weights = dict(source.state_dict())
    fresh: list[str] = []
    if target.action_names != source.action_names:
        fresh += [f"action {name}" for name in target.action_names if name not in source.action_names]
        for name in ("policy_head.weight", "policy_head.bias"):
            weights[name] = _by_action(target, source, name)
    if isinstance(target.encoder, TokenEncoder) and isinstance(source.encoder, TokenEncoder):
        rows, unknown = matching_rows(target.encoder.layout, source.encoder.layout)
        table = target.encoder.table.detach().clone()
        known = rows >= 0
        table[known] = source.encoder.table.detach().to(table.device)[rows[known]]
        weights["encoder.table"] = table
        fresh += unknown
    target.load_state_dict(weights)
    return fresh


def matching_rows(target: TokenLayout, source: TokenLayout) -> tuple[Tensor, list[str]]:
    """Return which row of `source` each row of `target` means, int64 [rows], -1 none; and the names without any."""
    rows = torch.full((target.num_rows,), -1, dtype=torch.int64)
    rows[ALWAYS] = ALWAYS
    places = _matching_places(target.space, source.space)
    known = {feature.name: feature for feature in source.features}
    unknown: list[str] = []
    for feature in target.features:
        other = known.get(feature.name)
        if other is None or (other.values is None) != (feature.values is None):
            unknown.append(f"feature {feature.name}")
            continue
        for block, other_block, name in _matching_blocks(feature, other):
            if other_block is None:
                unknown.append(name)
                continue
            within = places if feature.where == WHERE_PLACE else torch.arange(feature.stride)
            start = feature.first + block * feature.stride
            found = torch.where(within >= 0, other.first + other_block * other.stride + within, -1)
            rows[start : start + feature.stride] = found
    return rows, unknown


def _matching_blocks(feature: FeatureRows, other: FeatureRows) -> list[tuple[int, int | None, str]]:
    """Return each block of `feature`, the one of `other` with the same value (None: none has it), and its name."""
    if feature.values is None or other.values is None:
        return [(0, 0, feature.name)]
    index = {value: block for block, value in enumerate(other.values)}
    return [(block, index.get(value), f"{feature.name} {value}") for block, value in enumerate(feature.values)]


def _matching_places(target: TokenSpace, source: TokenSpace) -> Tensor:
    """Return for each place of the target's window the source's at the same offset from the centre, -1 outside."""
    row = torch.arange(target.height)[:, None] - target.height // 2 + source.height // 2
    column = torch.arange(target.width)[None, :] - target.width // 2 + source.width // 2
    inside = (row >= 0) & (row < source.height) & (column >= 0) & (column < source.width)
    return torch.where(inside, row * source.width + column, -1).reshape(-1)


def _by_action(target: PolicyAgent, source: PolicyAgent, name: str) -> Tensor:
    made: Tensor = target.state_dict()[name].clone()
    given: Tensor = source.state_dict()[name].to(made.device)
    index = {action: number for number, action in enumerate(source.action_names)}
    for number, action in enumerate(target.action_names):
        if action in index:
            made[number] = given[index[action]]
    return made


def _check_same_kind(target: PolicyAgent, source: PolicyAgent) -> None:
    if target.architecture != source.architecture:
        raise PolicyMismatchError(
            f"the initial policy is of the architecture {source.architecture!r}, the run's is {target.architecture!r}; "
            f"give policy.architecture={source.architecture}"
        )
    own, given = target.config.model_dump(mode="json"), source.config.model_dump(mode="json")
    differing = sorted(name for name in own.keys() | given.keys() if own.get(name) != given.get(name))
    if differing:
        told = ", ".join(f"{name} {given.get(name)} (the run: {own.get(name)})" for name in differing)
        hint = " ".join(f"policy.{name}={given.get(name)}" for name in differing)
        raise PolicyMismatchError(f"the initial policy has other sizes: {told}; give {hint}")
    is_tokens = isinstance(target.space, TokenSpace), isinstance(source.space, TokenSpace)
    if not all(is_tokens) and target.space != source.space:
        raise PolicyMismatchError(f"the initial policy sees {source.space}, the run's world shows {target.space}")
