"""The inbox of a statistics file: `<file>.inbox/`, where producers leave what they played, a file a simulation.

Leaving something takes as long with a thousand evaluations in the statistics file as with none, needs no lock, and
harms nothing when the producer is killed. Whoever reads the statistics next merges it.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable, Sequence

from metta.errors import StatsError
from metta.sim import stats_storage
from metta.sim.episode_rows import SimulationRows
from metta.sim.rows_file import DamagedRowsError, pack, unpack

logger = logging.getLogger(__name__)

SUFFIX = ".rows"
FOLDER_SUFFIX = ".inbox"
DAMAGED = ".damaged"  # behind the name of one that cannot be read


def inbox_of(uri: str) -> str:
    """Return the address of the inbox of the statistics file at `uri`."""
    return uri + FOLDER_SUFFIX


def deliver(uri: str, simulations: Iterable[SimulationRows]) -> None:
    """Leave simulations for the statistics file at `uri`, each whole or not at all. Raises OSError."""
    for rows in simulations:
        # Names sort by time, so that the later of two evaluations of one episode replaces the earlier.
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}{SUFFIX}"
        stats_storage.write_bytes(f"{inbox_of(uri)}/{name}", pack(rows))


def waiting_files(uri: str) -> list[str]:
    """Return the addresses of all that waits for the statistics file at `uri`, oldest first."""
    return stats_storage.list_files(inbox_of(uri), SUFFIX)


def read_deliveries(files: Iterable[str], *, is_writer: bool) -> dict[str, SimulationRows]:
    """Return file -> what it holds. What cannot be read, damaged or newer than this program, is told and left out.

    The writer puts a damaged one aside, so that it is told once; it may be worth a look, but nobody can mend it. Raises
    FileNotFoundError if one has vanished: somebody else has merged it meanwhile.
    """
    found = {}
    for file in files:
        try:
            found[file] = unpack(stats_storage.read_bytes(file), name=file)
        except DamagedRowsError as error:
            aside = f"; it is put aside as {stats_storage.put_aside(file, DAMAGED)}" if is_writer else ""
            logger.warning("%s; what it held is lost%s", error, aside)
        except StatsError as error:
            logger.warning("%s; it is left out", error)
    return found


def remove_deliveries(uri: str, files: Sequence[str]) -> None:
    """Remove what was merged, oldest first: what is left if we are killed may be merged again without harm."""
    for file in files:
        stats_storage.remove(file)
    stats_storage.remove_empty_folder(inbox_of(uri))
