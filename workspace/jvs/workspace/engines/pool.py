"""Threads that do tasks, each of which may bring more: the kernel does the work, without the interpreter's lock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

TICK: Final = 0.1
"""Seconds between two looks at progress and cancellation."""

Task = TypeVar("Task")


class Pool(Generic[Task]):
    """A stack of tasks: those added last are done first, so that a deep tree needs few at a time."""

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._tasks: list[Task] = []
        self._busy = 0
        self._error: BaseException | None = None

    @property
    def failed(self) -> bool:
        """Whether something failed, so that whoever is at work should stop. Cheap; asked from any thread."""
        return self._error is not None

    def run(self, first: Task, workers: Sequence[Callable[[Task], Sequence[Task]]], tick: Callable[[], None]) -> None:
        """Do `first` and all that comes of it, one thread per worker; raises the first failure when none works any
        more. A worker returns the tasks that are left of the one it is given. tick: called now and then, here."""
        self._tasks.append(first)
        threads = [threading.Thread(target=self._work, args=(work,), name="jvs-clone", daemon=True) for work in workers]
        for thread in threads:
            thread.start()
        try:
            while self._wait():
                tick()
        except BaseException as error:  # a KeyboardInterrupt, a cancellation, the progress callback's own failure
            self._stop(error)
        finally:
            for thread in threads:
                thread.join()
        if self._error is not None:
            raise self._error

    def _wait(self) -> bool:
        """Wait for a moment, or less; whether there is something to wait for."""
        with self._ready:
            waiting = bool(self._tasks or self._busy) and self._error is None
            if waiting:
                self._ready.wait(TICK)
            return waiting

    def _work(self, work: Callable[[Task], Sequence[Task]]) -> None:
        while True:
            with self._ready:
                while not self._tasks and self._busy and self._error is None:
                    self._ready.wait()
                if not self._tasks or self._error is not None:
                    return
                task = self._tasks.pop()
                self._busy += 1
            more: Sequence[Task] = ()
            try:
                more = work(task)
            except BaseException as error:
                self._stop(error)
            with self._ready:
                self._busy -= 1
                self._tasks.extend(more)
                if more or not self._busy:
                    self._ready.notify_all()

    def _stop(self, error: BaseException) -> None:
        with self._ready:
            if self._error is None:
                self._error = error
            self._ready.notify_all()
