"""Ordered, bounded, multi-threaded pipeline: what keeps every core busy while one image is read and another scored.

Threads suffice because the heavy calls (decoders, ONNX Runtime, the kernels) release the interpreter lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from queue import SimpleQueue
from typing import Any


@dataclass(frozen=True)
class Stage:
    """One step. `work(state, item)` gives the next step's item; `state` is made once a thread by `make_state`."""

    name: str
    work: Callable[[Any, Any], Any]
    threads: int = 1
    make_state: Callable[[], Any] = lambda: None


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error


_END = object()  # in a queue: the thread that takes it stops


def run_ordered(
    source: Iterable[Any], stages: list[Stage], *, in_flight: int, group: int = 1
) -> Generator[Any, None, None]:
    """Send every item of `source` through the stages; yield the results in the order of the source.

    At most `in_flight` items are between the source and the consumer, which bounds all queues and the
    reordering together. An exception in the source, in a stage or in making a state ends the pipeline and is
    raised here; closing the generator ends it too. Threads finish the item they are at, no more.

    Args:
        source: iterated in a thread of its own, so it may block on a disk or a network.
        stages: in order; each has its own threads.
        in_flight: at least `group`; below `group` times the number of threads some of them stay idle.
        group: consecutive items that change hands together. Handing over costs tens of microseconds of waking
            and waiting for the interpreter lock, which items of a few milliseconds should share.
    """
    queues: list[SimpleQueue[Any]] = [SimpleQueue() for _ in range(len(stages) + 1)]
    room = threading.Semaphore(max(1, in_flight // group))
    stop = threading.Event()
    results = queues[-1]

    def feed() -> None:
        count = 0
        try:
            items = iter(source)
            while taken := list(islice(items, group)):
                room.acquire()
                if stop.is_set():
                    return
                queues[0].put((count, taken))
                count += 1
            results.put((-1, count))
        except BaseException as error:  # whatever it is belongs to the consumer
            results.put((-1, _Raised(error)))

    def serve(stage: Stage, inbox: SimpleQueue[Any], outbox: SimpleQueue[Any]) -> None:
        try:
            state = stage.make_state()
            while (taken := inbox.get()) is not _END and not stop.is_set():
                number, items = taken
                outbox.put((number, [stage.work(state, item) for item in items]))
        except BaseException as error:  # whatever it is belongs to the consumer
            results.put((-1, _Raised(error)))

    threads = [threading.Thread(target=feed, name="alseg-source", daemon=True)]
    for i, stage in enumerate(stages):
        for k in range(stage.threads):
            name = f"alseg-{stage.name}-{k}"
            args = (stage, queues[i], queues[i + 1])
            threads.append(threading.Thread(target=serve, args=args, name=name, daemon=True))
    try:  # a signal may interrupt the starting too, and a thread left running would abort the process at its end
        for thread in threads:
            thread.start()
        yield from _in_order(results, room)
    finally:
        stop.set()
        room.release()  # the source may be waiting for room
        for stage, inbox in zip(stages, queues, strict=False):
            for _ in range(stage.threads):
                inbox.put(_END)
        for thread in threads:
            if thread.ident is not None:
                thread.join()


def _in_order(results: SimpleQueue[Any], room: threading.Semaphore) -> Iterator[Any]:
    waiting: dict[int, Any] = {}
    turn, total = 0, None
    while total is None or turn < total:
        number, item = results.get()
        if isinstance(item, _Raised):
            raise item.error
        if number < 0:
            total = item
            continue
        waiting[number] = item
        while turn in waiting:
            items = waiting.pop(turn)
            turn += 1
            yield from items
            room.release()
