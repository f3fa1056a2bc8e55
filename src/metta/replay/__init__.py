"""Records one world of an environment, keeps it in a file, and draws it."""

from __future__ import annotations

from metta.replay.draw import Frame, ReplayFrames, frame_of_map, frame_of_world
from metta.replay.format import Replay, parse_replay, read_replay, validate
from metta.replay.recorder import RecordableEnv, Recorder

__all__ = [
    "Frame",
    "RecordableEnv",
    "Recorder",
    "Replay",
    "ReplayFrames",
    "frame_of_map",
    "frame_of_world",
    "parse_replay",
    "read_replay",
    "validate",
]
