"""What plays and cannot be reached is tried again, after longer and longer pauses, by one thread at a time."""

from __future__ import annotations

import threading
from threading import Event

from tests.eval.eval_service.parts import ScriptedPlayer, an_answer

from metta.eval.eval_service.outage import FIRST_SECONDS, LONGEST_SECONDS, Outage
from metta.eval.eval_service.players import CancelledError, PlayersAwayError

NEVER = Event()


class Away(ScriptedPlayer):
    """A player that cannot be reached a number of times."""

    def __init__(self, times: int) -> None:
        super().__init__(lambda *_: an_answer())
        self.times, self.tries = times, 0

    def prepare(self, stop: Event) -> None:
        self.tries += 1
        if self.tries <= self.times:
            raise PlayersAwayError(f"refused {self.tries}")


def test_the_pauses_double_up_to_a_limit_and_the_reason_is_the_last_one() -> None:
    now, player = [0.0], Away(9)
    outage = Outage(clock=lambda: now[0])
    pauses = []
    while pause := outage.seconds_to_wait(player, NEVER):
        assert outage.reason is not None and f"refused {player.tries} (since " in outage.reason
        pauses.append(pause)
        now[0] += pause
    assert pauses == [min(FIRST_SECONDS * 2**n, LONGEST_SECONDS) for n in range(9)] and pauses[-1] == LONGEST_SECONDS
    assert outage.reason is None and player.tries == 10


def test_nobody_tries_before_the_pause_is_over_however_many_ask() -> None:
    now, player = [0.0], Away(1)
    outage = Outage(clock=lambda: now[0])
    threads = [threading.Thread(target=outage.seconds_to_wait, args=(player, NEVER)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert player.tries == 1
    now[0] = FIRST_SECONDS / 2
    assert outage.seconds_to_wait(player, NEVER) == FIRST_SECONDS / 2 and player.tries == 1
    now[0] = FIRST_SECONDS
    assert outage.seconds_to_wait(player, NEVER) == 0.0 and player.tries == 2


def test_what_comes_and_goes_without_playing_is_tried_less_and_less_often() -> None:
    now, player = [0.0], Away(0)
    outage = Outage(clock=lambda: now[0])
    for expected in (1.0, 2.0, 4.0):
        assert outage.seconds_to_wait(player, NEVER) == 0.0
        outage.begin("it went away")
        outage.begin("it went away, says another thread")
        assert outage.seconds_to_wait(player, NEVER) == expected
        now[0] += expected
    outage.seconds_to_wait(player, NEVER)
    outage.heard()
    outage.begin("it went away")
    assert outage.seconds_to_wait(player, NEVER) == FIRST_SECONDS


def test_to_stop_is_no_outage() -> None:
    class Stopped(ScriptedPlayer):
        def prepare(self, stop: Event) -> None:
            raise CancelledError

    outage = Outage()
    assert outage.seconds_to_wait(Stopped(lambda *_: an_answer()), NEVER) > 0 and outage.reason is None
