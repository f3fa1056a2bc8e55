"""What the tests of this room share."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def device_games() -> Any:
    """Return the module of batches with pools of maps (pytest imports test files, not their neighbours)."""
    spec = importlib.util.spec_from_file_location("device_games", Path(__file__).parent / "device_games.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
