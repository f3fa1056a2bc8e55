"""The first layer over tokens equals a dense layer over the window, on every path."""

from __future__ import annotations

import math
from collections.abc import Callable

import numba
import pytest
import torch
from torch import Tensor

from metta.agent.token_encoder import TokenEncoder, TokenLayout
from metta.agent.token_rows import DecodedTokens, decode_tokens, sum_decoded_rows, sum_decoded_rows_torch, sum_rows
from metta.envs import TokenSpace
from metta.grid.config import DEFAULT_RESOURCES

GLOBAL = {"episode_completion_pct", "last_action", "last_action_arg", "last_reward", "resource_rewards"}


def plane(space: TokenSpace, name: str, value: int) -> tuple[str | int, float] | None:
    """Which plane a token lights and how bright, said anew: (category value, 1) or ("amount", log2), None for none."""
    categories: dict[str, dict[int, str | int]] = {
        "type_id": dict(space.object_types),
        "last_action": dict(enumerate(space.action_names)),
        "agent:group": {v: v for v in range(10)},
        "agent:orientation": {v: v for v in range(8)},
        "agent:frozen": {0: 0, 1: 1},
        "converting": {0: 0, 1: 1},
        "swappable": {1: 1},
        "agent:glyph": {1: 1, 2: 2},
        "resource_rewards": {v: v for v in range(256)},
    }
    if name in categories:
        return (categories[name][value], 1.0) if value in categories[name] else None
    amount = value - 256 if name == "last_reward" and value > 127 else value
    return "amount", math.copysign(math.log2(1 + abs(amount)), amount)


def dense_inputs(space: TokenSpace, tokens: Tensor) -> tuple[Tensor, dict[tuple[object, ...], int]]:
    """The window as planes, flattened: float64 [N, inputs], and which input (feature, plane, place) is which."""
    names = {feature.id: feature.name for feature in space.features}
    inputs: dict[tuple[object, ...], int] = {("bias", None, None): 0}
    lit: list[tuple[int, int, float]] = [(n, 0, 1.0) for n in range(len(tokens))]
    for n, sample in enumerate(tokens.tolist()):
        visits = 0
        for place, feature, value in sample:
            if place == 255:
                break
            found = plane(space, names[feature], value) if feature in names else None
            where: object = (place // 16, place % 16)
            if feature in names and names[feature] in GLOBAL:
                where = "global"
            if feature in names and names[feature] == "agent:visitation_counts":
                where, visits = visits, visits + 1
                if where >= 5:
                    continue
            if found is not None:
                key = (names[feature], found[0], where)
                lit.append((n, inputs.setdefault(key, len(inputs)), found[1]))
    dense = torch.zeros(len(tokens), len(inputs), dtype=torch.float64)
    for n, column, brightness in lit:
        dense[n, column] += brightness
    return dense, inputs


def dense_weights(encoder: TokenEncoder, inputs: dict[tuple[object, ...], int]) -> list[int]:
    """The row of the table that is the weight vector of each dense input."""
    space, rows = encoder.layout.space, {rows.name: rows for rows in encoder.layout.features}
    result = []
    for name, value, where in inputs:
        if name == "bias":
            result.append(0)
            continue
        block = rows[str(name)]
        index = 0 if block.values is None else block.values.index(value)
        offset = 0 if where == "global" else where
        if isinstance(where, tuple):
            offset = where[0] * space.width + where[1]
        result.append(block.first + index * block.stride + int(offset))
    return result


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(("num_samples", "width"), [(7, 24), (600, 64), (50, 150)])  # blocks of 64, rests, and both
def test_equals_a_dense_layer_over_the_window_forward_and_backward(
    space: TokenSpace, tokens_of: Callable[..., Tensor], num_samples: int, width: int, relu: bool
) -> None:
    encoder = TokenEncoder(space, width)
    tokens = tokens_of(space, num_samples)
    luts, unknown = encoder.layout.luts(space)
    assert not unknown
    direction = torch.randn(num_samples, width)
    out = encoder(tokens, luts) if relu else sum_rows(encoder.table, tokens, luts)
    out.backward(direction)

    dense, inputs = dense_inputs(space, tokens)
    assert len(inputs) > (20 if num_samples < 100 else 200)
    chosen = dense_weights(encoder, inputs)
    assert len(set(chosen)) == len(chosen), "two inputs of the dense layer must not share a row"
    expected = dense @ encoder.table.detach().double()[chosen]
    if relu:
        direction = direction * (expected > 0)
        expected = torch.relu(expected)
    torch.testing.assert_close(out.detach().double(), expected, atol=1e-5, rtol=1e-5)
    expected_grad = torch.zeros(encoder.table.shape, dtype=torch.float64)
    expected_grad[chosen] = dense.T @ direction.double()
    assert encoder.table.grad is not None
    torch.testing.assert_close(encoder.table.grad.double(), expected_grad, atol=1e-4, rtol=1e-5)


def test_equals_the_dense_layer_exactly_with_whole_numbers(space: TokenSpace, tokens_of: Callable[..., Tensor]) -> None:
    encoder = TokenEncoder(space, 8)
    with torch.no_grad():
        encoder.table.copy_(torch.randint(-8, 9, encoder.table.shape).float())
    tokens = tokens_of(space, 300)
    amounts = [f.id for f in space.features if plane(space, f.name, 3) == ("amount", 2.0)]
    tokens[..., 2][torch.isin(tokens[..., 1], torch.tensor(amounts, dtype=torch.uint8))] = 3  # log2(1 + 3) = 2
    luts, _ = encoder.layout.luts(space)
    dense, inputs = dense_inputs(space, tokens)
    expected = dense @ encoder.table.detach().double()[dense_weights(encoder, inputs)]
    assert torch.equal(sum_rows(encoder.table, tokens, luts).detach().double(), expected)


def test_torch_operations_give_the_same_sum_and_gradient(space: TokenSpace, tokens_of: Callable[..., Tensor]) -> None:
    layout = TokenLayout.of(space)
    luts, _ = layout.luts(space)
    tokens = tokens_of(space, 50)
    table = torch.randn(layout.num_rows, 16, dtype=torch.float32, requires_grad=True)
    direction = torch.randn(50, 16)
    sums, grads = [], []
    for add in (sum_decoded_rows, sum_decoded_rows_torch):
        table.grad = None
        sums.append(add(table, decode_tokens(tokens, luts)))
        sums[-1].backward(direction)
        assert table.grad is not None
        grads.append(table.grad)
    torch.testing.assert_close(sums[0], sums[1])
    torch.testing.assert_close(grads[0], grads[1])


def test_decoding_in_torch_operations_means_the_same_rows(space: TokenSpace, tokens_of: Callable[..., Tensor]) -> None:
    from metta.agent.token_rows import _decode_torch

    layout = TokenLayout.of(space)
    luts, _ = layout.luts(space)
    tokens = tokens_of(space, 50)
    tokens[:, :, 1][torch.rand(50, space.num_tokens) < 0.3] = 13  # many visitation counts
    other = DecodedTokens.empty(50, space.num_tokens)
    _decode_torch(tokens, luts, other)
    table = torch.randn(layout.num_rows, 4)
    torch.testing.assert_close(sum_rows(table, tokens, luts), sum_decoded_rows(table, other))


def test_without_the_compiler_the_sum_is_the_same(
    space: TokenSpace, tokens_of: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = TokenEncoder(space, 16)
    luts, _ = encoder.layout.luts(space)
    tokens = tokens_of(space, 20)
    compiled = encoder(tokens, luts)
    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)
    torch.testing.assert_close(encoder(tokens, luts), compiled)


def test_two_threads_agree_with_one_and_every_repetition_to_the_bit(
    space: TokenSpace, tokens_of: Callable[..., Tensor]
) -> None:
    layout = TokenLayout.of(space)
    luts, _ = layout.luts(space)
    tokens, direction = tokens_of(space, 1000), torch.randn(1000, 70)
    table = torch.randn(layout.num_rows, 70, requires_grad=True)
    results: list[tuple[Tensor, Tensor]] = []
    for threads in (1, 2, 2):
        torch.set_num_threads(threads)
        table.grad = None
        out = sum_rows(table, tokens, luts)
        out.backward(direction)
        assert table.grad is not None
        results.append((out.detach(), table.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[1][1], results[2][1])
    torch.testing.assert_close(results[0][1], results[1][1], atol=5e-4, rtol=1e-4)


def test_nothing_counts_after_the_first_empty_token(space: TokenSpace) -> None:
    encoder = TokenEncoder(space, 4)
    luts, _ = encoder.layout.luts(space)
    tokens = torch.tensor([[[17, 0, 1], [255, 255, 255], [17, 0, 1]]], dtype=torch.uint8)
    assert torch.equal(encoder(tokens, luts), encoder(tokens[:, :1], luts))


def test_an_amount_is_scaled_by_the_logarithm_and_a_negative_reward_is_negative(space: TokenSpace) -> None:
    encoder = TokenEncoder(space, 4)
    luts, _ = encoder.layout.luts(space)

    def row(feature: int, value: int) -> Tensor:
        return sum_rows(encoder.table, torch.tensor([[[33, feature, value]]], dtype=torch.uint8), luts).detach()

    torch.testing.assert_close(row(14, 7), 3 * row(14, 1))
    torch.testing.assert_close(row(10, 256 - 7), -3 * row(10, 1))  # last_reward
    assert torch.count_nonzero(row(14, 0)) == 0


def test_global_tokens_have_one_row_wherever_they_stand(space: TokenSpace) -> None:
    encoder = TokenEncoder(space, 4)
    luts, _ = encoder.layout.luts(space)
    tokens = torch.tensor([[[33, 8, 1]], [[0, 8, 1]]], dtype=torch.uint8)  # last_action
    out = encoder(tokens, luts)
    assert torch.equal(out[0], out[1])


def test_visitation_counts_of_one_place_are_told_apart_by_their_order(space: TokenSpace) -> None:
    encoder = TokenEncoder(space, 4)
    luts, _ = encoder.layout.luts(space)
    here_first = torch.tensor([[[33, 13, v] for v in (1, 3, 0, 0, 0)]], dtype=torch.uint8)
    up_first = torch.tensor([[[33, 13, v] for v in (3, 1, 0, 0, 0)]], dtype=torch.uint8)
    assert not torch.allclose(sum_rows(encoder.table, here_first, luts), sum_rows(encoder.table, up_first, luts))


def test_a_zero_in_order_still_counts_as_one_of_the_visits(space: TokenSpace) -> None:
    layout = TokenLayout.of(space)
    luts, _ = layout.luts(space)
    first = next(rows for rows in layout.features if rows.name == "agent:visitation_counts").first
    tokens = torch.tensor([[[33, 13, v] for v in (0, 0, 5, 0, 7)]], dtype=torch.uint8)
    decoded = decode_tokens(tokens, luts)
    rows = decoded.rows[0, 1 : int(decoded.counts[0])]
    assert rows[decoded.amounts[0, 1 : int(decoded.counts[0])] != 0].tolist() == [first + 2, first + 4]


def test_decoded_tokens_stand_in_for_tokens_in_any_order_and_shape(
    space: TokenSpace, tokens_of: Callable[..., Tensor]
) -> None:
    encoder = TokenEncoder(space, 8)
    luts, _ = encoder.layout.luts(space)
    tokens = tokens_of(space, 12).reshape(3, 4, space.num_tokens, 3)  # [T, N, K, 3]
    room = DecodedTokens.empty(12, space.num_tokens).reshape(3, 4)
    for t in range(3):
        encoder.prepare(tokens[t], luts, out=room[t])
    whole = encoder(tokens, luts)
    assert torch.equal(encoder(room, None), whole)
    assert torch.equal(encoder(room.transpose(0, 1), None), whole.transpose(0, 1))
    picked = torch.tensor([[11, 0], [5, 5]])
    assert torch.equal(encoder(room.reshape(-1)[picked], None), whole.reshape(12, 8)[picked])


def test_the_table_of_the_arena_is_small(space_of: Callable[..., TokenSpace]) -> None:
    names = [f.name for f in space_of().features[:14]] + [f"inv:{resource}" for resource in DEFAULT_RESOURCES]
    objects = {0: "agent", 1: "wall", 2: "mine_red", 5: "generator_red", 8: "altar", 15: "lasery", 16: "armory"}
    space = space_of(features=names, objects=objects, height=11, width=11, actions=["noop"])
    assert 4000 < TokenLayout.of(space).num_rows < 8000
