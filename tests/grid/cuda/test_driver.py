"""What NVIDIA's driver is told, heard by a library that stands in its place."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import pytest

from metta.errors import ConfigError
from metta.grid.cuda import driver


class Ear:
    """A driver that keeps what it was told, and answers with a code."""

    def __init__(self, code: int = 0) -> None:
        self.heard: dict[str, Any] = {}
        self.code = code

    def cuLaunchKernel(self, function: Any, *rest: Any) -> int:  # noqa: N802
        *numbers, stream, pointers, extra = rest
        values = [ctypes.c_int64.from_address(pointer).value for pointer in pointers]
        self.heard = {"grid": [n.value for n in numbers], "stream": stream.value, "values": values, "extra": extra}
        return self.code

    def cuGetErrorString(self, code: int, text: Any) -> None:  # noqa: N802
        ctypes.cast(text, ctypes.POINTER(ctypes.c_char_p))[0] = b"out of sorts"


def launch(ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "_driver", lambda: ear)
    arguments = [7, -1, 2**62]
    driver.launch(ctypes.c_void_p(5), blocks=3, threads=64, stream=9, arguments=arguments)


def test_a_launch_says_grid_stream_and_every_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    ear = Ear()
    launch(ear, monkeypatch)
    assert ear.heard == {"grid": [3, 1, 1, 64, 1, 1, 0], "stream": 9, "values": [7, -1, 2**62], "extra": None}


def test_an_error_of_the_driver_is_told_in_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="cuLaunchKernel failed with 700: out of sorts"):
        launch(Ear(700), monkeypatch)


def test_a_machine_without_a_driver_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> SimpleNamespace:
        raise OSError("cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    driver._driver.cache_clear()
    with pytest.raises(ConfigError, match=r"needs NVIDIA's driver, and libcuda.so.1 cannot be loaded \(cannot open"):
        driver.load_function("", "act")
    driver._driver.cache_clear()
