"""Write the digests of today's games to tests/golden/grid_games.json, after a change of the rules on purpose."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import random_games
import test_games

recorded = {
    "random": [random_games.play(seed)["game"] for seed in range(12)],
    "wide": [random_games.play(seed, wide=True)["game"] for seed in range(12)],
    "easy_arena": test_games.arena_digest(random_games),
}
test_games.GOLDEN.write_text(json.dumps(recorded, indent=1) + "\n")
