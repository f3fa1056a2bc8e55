"""A replay as one HTML page."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from metta.envs.tasks import FixedTasks, Task
from metta.envs.vec_env import VecEnv
from metta.grid.config import WorldConfig
from metta.grid.maps.config import AsciiMapConfig
from metta.grid.worlds import easy_arena
from metta.replay import Recorder, Replay, parse_replay
from metta.replay import page as page_module
from metta.replay.page import replay_page


@pytest.fixture(scope="module")
def replay() -> Replay:
    config: WorldConfig = easy_arena(num_agents=1)
    config.max_steps = 200
    config.map = AsciiMapConfig(text="#######\n#@..m_#\n#######")
    env = VecEnv(FixedTasks([Task(config, 0)]), num_worlds=1)
    env.reset()
    recorder = Recorder(env, 0)
    recorder.start()
    east, west = env.action_names.index("move_east"), env.action_names.index("move_west")
    for tick in range(200):
        env.step(np.array([west if tick // 2 % 2 else east], np.int32))
        recorder.record_tick()
    return recorder.finish()


def attributes(html: str, tag: str) -> dict[str, str | None]:
    """The attributes of the only element of a kind; nothing if there is none."""
    found: list[dict[str, str | None]] = []

    class Parser(HTMLParser):
        def handle_starttag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
            if name == tag:
                found.append(dict(attrs))

    Parser().feed(html)
    assert len(found) <= 1
    return found[0] if found else {}


def carried(address: str | None) -> bytes:
    assert address is not None
    return base64.b64decode(address.partition(";base64,")[2])


def test_the_page_needs_nothing_but_itself(replay: Replay) -> None:
    html = replay_page(replay, source="train_dir/run/replays/a.json.z", title="t")
    assert set(re.findall(r'(?:src|href)="(\w+:)', html)) == {"data:"}


def test_the_picture_moves_through_the_whole_episode(replay: Replay) -> None:
    html = replay_page(replay, source="a.json.z", title="t")
    picture = Image.open(io.BytesIO(carried(attributes(html, "img")["src"])))
    assert picture.n_frames == len(range(0, 201, 2))  # 201 steps, about 80 of them: every 2.
    assert picture.size == (7 * 16, 3 * 16)
    assert "201 steps, of which every 2. is shown, 7 x 3 cells, 1 agents" in html


def test_the_replay_can_be_taken_along_and_the_command_opens_it(replay: Replay) -> None:
    html = replay_page(replay, source="train_dir/my run/replays/a.json.z", title="t")
    link = attributes(html, "a")
    assert link["download"] == "a.json.z"
    assert parse_replay(carried(link["href"])).data == replay.data
    assert "<code>metta replay &#x27;train_dir/my run/replays/a.json.z&#x27;</code>" in html


def test_a_replay_on_the_web_is_linked_to(replay: Replay) -> None:
    html = replay_page(replay, source="https://example.org/replays/a.json.z", title="t")
    assert attributes(html, "a") == {"href": "https://example.org/replays/a.json.z"}


def test_a_very_large_replay_is_only_named(replay: Replay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "LARGEST_CARRIED", 100)
    html = replay_page(replay, source="a.json.z", title="t")
    assert attributes(html, "a") == {}
    assert "<p>a.json.z opens with" in html


def test_names_cannot_write_html(replay: Replay) -> None:
    html = replay_page(replay, source="<b>.json.z", title="<script>")
    assert attributes(html, "script") == attributes(html, "b") == {}
