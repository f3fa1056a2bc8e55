"""A worker process: orders come on its standard input, a line each, and answers go back on its standard output.

Before an answer, which is a JSON object, come any number of lines with a number alone: the share that has been played.

It ends when the service does, however that ended: the end of its input is all that it waits for.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading


def main() -> None:
    """Play until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service, which ends us
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what anything prints is no answer
    orders: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(orders,), daemon=True).start()
    from metta.eval.eval_service.play import PlayOrder, play  # seconds: meanwhile the thread listens

    def say(line: str) -> None:
        answers.write(line + "\n")
        answers.flush()

    while True:
        order = PlayOrder.model_validate_json(orders.get())
        say(play(order, lambda share: say(f"{share:.4f}")).model_dump_json())


def _read(orders: queue.Queue[str]) -> None:
    for line in sys.stdin:
        orders.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
