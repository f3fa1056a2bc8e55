"""Dense layers by kernels equal the plain product, torch's layers, and themselves in every company."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from metta.agent import dense as module
from metta.agent.dense import dense, fixed_weights
from metta.agent.kernels.products import add_product

Floats = NDArray[np.float32]


def normal(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def plain_product(a: Floats, b: Floats, out: Floats) -> NDArray[np.float64]:
    """out + a b, one multiplication after the other."""
    result = out.astype(np.float64)
    for n, w in np.ndindex(*out.shape):
        for k in range(len(b)):
            result[n, w] += float(a[n, k]) * float(b[k, w])
    return result


@pytest.mark.parametrize(("rows", "depth", "width"), [(1, 1, 16), (9, 5, 96), (5, 130, 64), (8, 3, 16), (13, 7, 80)])
def test_a_product_is_that_of_the_plain_loops(rows: int, depth: int, width: int) -> None:
    a, b, out = normal(rows, depth), normal(depth, width), normal(rows, width)
    expected = plain_product(a, b, out)
    add_product(a, b, out)
    np.testing.assert_allclose(out, expected, rtol=0, atol=2e-5)


def test_the_left_side_of_a_product_may_be_transposed() -> None:
    a, b, out = normal(11, 20), normal(11, 48), np.zeros((20, 48), np.float32)
    add_product(a.T, b, out)
    np.testing.assert_allclose(out, a.T.astype(np.float64) @ b, rtol=0, atol=2e-5)


@pytest.mark.parametrize("width", [16, 64, 112])
def test_the_bits_of_a_row_do_not_depend_on_the_rows_beside_it(width: int) -> None:
    a, b = normal(21, 150), normal(150, width)
    whole = np.zeros((21, width), np.float32)
    add_product(a, b, whole)
    for first, last in itertools.combinations(range(22), 2):
        part = np.zeros((last - first, width), np.float32)
        add_product(a[first:last], b, part)
        np.testing.assert_array_equal(part, whole[first:last])


def layers(*widths: int) -> list[nn.Linear]:
    made = [nn.Linear(32, width) for width in widths]
    for layer in made:
        nn.init.normal_(layer.bias)
    return made


def results(outputs: list[Tensor], inputs: list[Tensor], seed: int) -> list[Tensor]:
    """The outputs, and gradients of a random direction of them."""
    generator = torch.Generator().manual_seed(seed)
    directions = [torch.randn(output.shape, generator=generator) for output in outputs]
    return [*(output.detach() for output in outputs), *torch.autograd.grad(outputs, inputs, directions)]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", [(5,), (700,), (3, 211), (0,)])
@pytest.mark.parametrize("widths", [(64,), (16, 1), (5, 3, 30)])
def test_values_and_gradients_are_those_of_torch(
    widths: tuple[int, ...], shape: tuple[int, ...], relu: bool, threads: int
) -> None:
    torch.set_num_threads(threads)
    several = layers(*widths)
    x = torch.randn(*shape, 32, requires_grad=True)
    inputs = [x, *(parameter for layer in several for parameter in layer.parameters())]
    ours = results(list(dense(x, *several, relu=relu)), inputs, seed=1)
    # in float64, where no sum is near enough to 0 for its rounding to open or shut a relu
    wide = [layer.double() for layer in layers(*widths)]
    for mine, other in zip(several, wide, strict=True):
        mine_state = {name: value.double() for name, value in mine.state_dict().items()}
        other.load_state_dict(mine_state)
    exact = x.detach().double().requires_grad_()
    outputs = [layer(exact) for layer in wide]
    outputs = [torch.relu(output) for output in outputs] if relu else outputs
    generator = torch.Generator().manual_seed(1)
    directions = [torch.randn(output.shape, generator=generator).double() for output in outputs]
    inputs = [exact, *(parameter for layer in wide for parameter in layer.parameters())]
    theirs = [*outputs, *torch.autograd.grad(outputs, inputs, directions)]
    for mine_tensor, their in zip(ours, theirs, strict=True):
        assert mine_tensor.shape == their.shape and mine_tensor.dtype == torch.float32
        torch.testing.assert_close(mine_tensor.double(), their.detach(), atol=2e-4, rtol=1e-5)


def test_without_gradients_the_values_are_the_same_to_the_bit() -> None:
    (layer,) = layers(24)
    x = torch.randn(40, 32)
    with torch.no_grad():
        acting = dense(x, layer)[0]
    assert torch.equal(acting, dense(x, layer)[0].detach())


def test_two_threads_give_the_values_of_one_and_the_same_gradients_every_time() -> None:
    (layer,) = layers(20)
    x = torch.randn(1500, 32, requires_grad=True)
    found = []
    for threads in (1, 2, 2):
        torch.set_num_threads(threads)
        found.append(results([dense(x, layer)[0]], [x, layer.weight, layer.bias], seed=2))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
    assert all(torch.equal(one, other) for one, other in zip(found[1], found[2], strict=True))


def test_inputs_that_no_kernel_fits_take_the_way_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow, wide = nn.Linear(10, 4), nn.Linear(32, 4).double()
    x, doubles = torch.randn(3, 10), torch.randn(3, 32).double()
    assert torch.equal(dense(x, narrow)[0], narrow(x))
    assert torch.equal(dense(doubles, wide, relu=True)[0], torch.relu(wide(doubles)))
    (layer,) = layers(4)
    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)
    floats = torch.randn(3, 32)
    assert torch.equal(dense(floats, layer)[0], layer(floats))


def test_weights_are_packed_once_while_they_are_promised_to_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    (layer,) = layers(4)
    x, made = torch.randn(3, 32), []
    original = module._columns
    monkeypatch.setattr(module, "_columns", lambda *several: made.append(several) or original(*several))
    with torch.no_grad():
        with fixed_weights():
            before = [dense(x, layer)[0] for _ in range(3)]
        assert len(made) == 1
        layer.weight.mul_(2.0)
        layer.bias.mul_(2.0)
        with fixed_weights():
            torch.testing.assert_close(dense(x, layer)[0], 2.0 * before[0])
        torch.testing.assert_close(dense(x, layer)[0], 2.0 * before[0])
    assert len(made) == 3


def test_a_promise_of_one_thread_does_not_hold_in_another() -> None:
    """Training may change its weights while a thread beside it evaluates others."""
    (layer,) = layers(4)
    x = torch.randn(3, 32)

    def change_and_act() -> torch.Tensor:
        with torch.no_grad():
            dense(x, layer)
            layer.weight.mul_(2.0)
            return dense(x, layer)[0] - dense(torch.zeros_like(x), layer)[0]

    with torch.no_grad(), fixed_weights(), ThreadPoolExecutor(1) as pool:
        before = dense(x, layer)[0] - dense(torch.zeros_like(x), layer)[0]
        changed = pool.submit(change_and_act).result()
        assert torch.equal(dense(x, layer)[0] - dense(torch.zeros_like(x), layer)[0], before)  # packed, as promised
    torch.testing.assert_close(changed, 2.0 * before)
