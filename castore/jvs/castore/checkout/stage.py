"""Writing new content under temporary names, before anything visible is touched.

The work is a stack of tasks: directories, and what is found in them. Every file is verified as it is written, so when
all is staged every object is known to be present and sound.

Two workers, since the kernel does most of the work and creating a file costs more than its bytes. For few files they
are two threads. For many, the second is a process (`assist`): two threads spend half of what they gain on handing the
interpreter's lock to each other at every system call (measured: 100,000 files, one thread 3.4 s of CPU, two 5.2 s).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from jvs.castore.checkout import disk
from jvs.castore.checkout.assist import Assistant, AssistantFailedError
from jvs.castore.checkout.content import ModeRule, Written
from jvs.castore.checkout.work import NewFiles, NewTree, Task, Worker, undo
from jvs.castore.objects import ObjectStore

MANY = 8_000
"""Entries to be written from which on a second process is worth its start (some 0.15 s of CPU)."""
_TICK = 0.1


class Progress(NamedTuple):
    """How far a checkout has come: files and bytes written."""

    files: int
    bytes: int


class Stager:
    """Collects tasks (`add`), does them (`run`), and says in `written` what came of it."""

    def __init__(self, objects: ObjectStore, root: int, rule: ModeRule, store: str | None) -> None:
        """root: the target directory, open. store: path of the store, None where no other process can open it."""
        self._root = root
        self._rule = rule
        self._store = store
        self._worker = Worker(objects, rule, self._is_last)
        self._ready = threading.Condition()
        self._tasks: deque[Task] = deque()
        self._entries = 0
        self._busy = 0
        self._error: BaseException | None = None
        self._assistant: Assistant | None = None

    @property
    def written(self) -> Written:
        """What came of it so far."""
        return self._worker.written

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return Progress(self.written.files, self.written.bytes)

    def add(self, task: Task) -> None:
        """One more task, before `run`."""
        self._tasks.append(task)
        if isinstance(task, NewTree):
            self._entries += task.tree.entries
        else:
            self._entries += len(task.files) if isinstance(task, NewFiles) else 1

    def run(self, progress: Callable[[Progress], None] | None = None) -> None:
        """Do it all; raises the first failure, when nobody is at work any more. progress is called in this thread."""
        if not self._tasks:
            return
        second = self._work
        if self._store is not None and self._entries >= MANY:
            self._assistant = Assistant(self._store, self._root, self._rule)
            second = self._lend
        threads = [threading.Thread(target=work, name="jvs-checkout", daemon=True) for work in (self._work, second)]
        for thread in threads:
            thread.start()
        try:
            with self._ready:
                while (self._tasks or self._busy) and self._error is None:
                    self._ready.wait(_TICK)
                    if progress is not None:
                        progress(self.progress)
        except BaseException as error:  # a KeyboardInterrupt, or the progress callback's own failure
            self._stop(error)
        finally:
            if self._assistant is not None:
                self._assistant.close()
            for thread in threads:
                thread.join()
            self._worker.close()
        if self._error is not None:
            raise self._error
        if progress is not None:
            progress(self.progress)

    # -- the two threads -------------------------------------------------------------------------------------------

    def _work(self) -> None:
        """Do tasks, those added last first, so that a deep tree needs few at a time."""
        with disk.Directories(self._root) as directories:
            while (task := self._take(-1)) is not None:
                try:
                    self._push(self._worker.do(task, directories))
                except BaseException as error:
                    self._stop(error)
                self._finished()

    def _lend(self) -> None:
        """Have the assistant do tasks, those added first, which are the largest. What it fails at is done here: then
        the failure, if it was no accident, is met again and reported as any other."""
        assistant = self._assistant
        if assistant is None:
            return
        lent: deque[Task] = deque()
        try:
            while True:
                while len(lent) < 2 and (task := self._take(0, wait=not lent)) is not None:
                    lent.append(task)
                    assistant.give(task)
                if not lent:
                    return
                self._push(assistant.take_back(self.written))
                lent.popleft()
                self._finished()
        except AssistantFailedError:
            assistant.close()
            try:
                with disk.Directories(self._root) as directories:
                    for task in lent:
                        undo(task, directories)
                self._push(lent)
            except BaseException as error:
                self._stop(error)
            for _ in lent:
                self._finished()
        except BaseException as error:
            self._stop(error)
            for _ in lent:
                self._finished()
        self._work()

    def _is_last(self) -> bool:
        """Whether there is nothing to be done but what the caller is at."""
        return self._busy <= 1 and not self._tasks

    def _take(self, end: int, *, wait: bool = True) -> Task | None:
        """A task from one end of the stack; None when all is done or has failed, or none is there to be had at once."""
        with self._ready:
            while self._error is None:
                if self._tasks:
                    self._busy += 1
                    return self._tasks.pop() if end else self._tasks.popleft()
                if not self._busy or not wait:
                    break
                self._ready.wait()
            return None

    def _push(self, tasks: Sequence[Task]) -> None:
        if tasks:
            with self._ready:
                self._tasks.extend(tasks)
                self._ready.notify_all()

    def _finished(self) -> None:
        with self._ready:
            self._busy -= 1
            if not self._busy:
                self._ready.notify_all()

    def _stop(self, error: BaseException) -> None:
        self._worker.stop()
        with self._ready:
            if self._error is None:
                self._error = error
            self._tasks.clear()
            self._ready.notify_all()
        if self._assistant is not None:
            self._assistant.kill()
