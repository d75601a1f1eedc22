"""Local stores whose every operation, on the index or on a file, is a step; and running scenarios over them.

A crash here is that of a process: what it wrote is there, what it held in memory is not, its locks are free. (What a
power cut leaves is another test's: tests/powercut.)
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, cast

from jvs.castore import records
from jvs.castore.backend import Kind, Stored, object_name
from jvs.castore.codec import decode
from jvs.castore.digest import Digest
from jvs.castore.gc.collection import Limits
from jvs.castore.gc.marks import COLLECTORS, CONDEMNED, PINS, TOLD
from jvs.castore.local import env, locks, pack, reclaim, reserve, writer
from jvs.castore.local.descriptors import Descriptor
from jvs.castore.local.pack import PackReader, pack_path
from jvs.castore.local.store import LocalStore
from jvs.castore.local.tables import PackRow
from jvs.castore.local.txn import LocalReadTxn, LocalWriteTxn
from jvs.castore.memory import _MemoryReadTxn, _State
from jvs.castore.objects import object_children
from jvs.errors import StateError
from jvs.labels import tables
from jvs.workspace import gc
from jvs.workspace.repo import Repo
from tests.castore.models import TINY
from tests.gc.bench import Bench
from tests.gc.scenarios import UNLIMITED, Scenario, no_step
from tests.gc.scheduler import Broken, Process
from tests.gc.stores import ScheduledLocks, View, Watch, show

_FILE_STEPS: Final = frozenset(("ftruncate", "listdir", "pread", "pwritev", "unlink"))
_SEEN: Final = (COLLECTORS, CONDEMNED, PINS, TOLD, tables.LABELS, tables.PINS)


class ScheduledLocal(LocalStore):
    """A process's handle of a local store."""

    watch = Watch()

    def attach(self, watch: Watch) -> None:
        """From now on operations are steps."""
        self.watch = watch
        self.locks = ScheduledLocks(self.locks, watch)

    def view(self) -> View:
        """The store as it is, its packs read. Raises Broken when something is not where the index says."""
        packs = PackReader(self.packs_path)
        txn = LocalReadTxn(self._env.begin(write=False), self._env)
        try:
            objects = {}
            for kind in Kind:
                for key, row in txn.objects(kind):
                    name = object_name(kind, key)
                    try:
                        stored = packs.read(kind, key, row.pack, row.offset, row.stored)
                    except Exception as error:
                        raise Broken(f"{show(name)} is not where the index says: {error}") from error
                    refs = object_children(kind, key, decode(kind, stored))
                    objects[name] = tuple(object_name(*ref) for ref in refs)
            for one, state in txn.packs():
                if state.state == PackRow.OPEN and not os.path.exists(pack_path(self.packs_path, one)):
                    raise Broken("a pack that may be written to is not there")
            rows = {table.name: dict(txn.scan(table)) for table in _SEEN}
            return View(objects, _MemoryReadTxn(_State(rows, {}, (), records.EMPTY)))
        finally:
            txn.abort()
            packs.close()

    @contextmanager
    def _reading(self) -> Iterator[LocalReadTxn]:
        self.watch.step("read")
        with super().read() as txn:
            yield txn

    def read(self) -> Any:
        return self._reading()

    @contextmanager
    def _writing(self) -> Iterator[LocalWriteTxn]:
        self.watch.step("write")
        process = self.watch.current
        if process is None:
            with super().write() as txn:
                yield txn
            return
        process.atomic = True
        try:
            with super().write() as txn:
                yield txn
                self.watch.need_space()
            self.watch.committed(process, self.view())
        finally:
            process.atomic = False

    def write(self) -> Any:
        return self._writing()

    def get(self, kind: Kind, key: Digest, *, check: bool = True) -> Stored:
        self.watch.step("get")
        return super().get(kind, key)


class SteppedDescriptor(Descriptor):
    """Locking it is a step."""

    watch: Watch
    path: str

    def lock(self, *, shared: bool = False, wait: bool = True) -> bool:
        self.watch.step("flock")
        return super().lock(shared=shared, wait=wait)


class StepOs:
    """`os`, some of whose functions are steps."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in _FILE_STEPS:
            return real

        def call(*args: Any, **more: Any) -> Any:
            self._watch.step(name)
            return real(*args, **more)

        return call


class LocalBench(Bench):
    """Over a store in a directory (give one in memory: every run copies the store); the collector gives packs back."""

    def __init__(self, scenario: Scenario, directory: str) -> None:
        super().__init__(scenario)
        self._directory = directory
        self._made = os.path.join(directory, "made")
        self._descriptors: dict[Process | None, list[Descriptor]] = {}
        with self.small(1):
            store = ScheduledLocal.create(self._made, TINY)
            try:
                self._make(store)
            finally:
                store.close()

    def _patches(self) -> Iterator[tuple[Any, str, Any]]:
        yield from super()._patches()
        watch, descriptors, step_os = self.watch, self._descriptors, StepOs(self.watch)

        def opened(path: str, flags: int, mode: int = 0o666) -> SteppedDescriptor:
            watch.step("open")
            descriptor = SteppedDescriptor(path, flags, mode)
            descriptor.watch, descriptor.path = watch, path
            descriptors.setdefault(watch.current, []).append(descriptor)
            return descriptor

        for module in (locks, pack, reclaim, writer):
            yield module, "os", step_os
            yield module, "Descriptor", opened
        yield writer, "_Background", _Inline
        yield writer, "sync_data", lambda fd: watch.step("sync")
        yield writer, "sync_directory", lambda path: watch.step("sync")
        yield env, "probe", lambda path, *, quick: []
        yield env, "MAP_SIZE", 1 << 28

    def _open(self) -> Mapping[str, Any]:
        path = tempfile.mkdtemp(dir=self._directory)
        shutil.copytree(self._made, path, dirs_exist_ok=True)
        self._descriptors.clear()
        stores: dict[str, ScheduledLocal] = {}
        for name in ("", *self.scenario.names):
            store = stores[name] = cast(ScheduledLocal, ScheduledLocal.open(path))
            store.attach(self.watch)
        self.watch.begin(stores[""].view())
        return stores

    def _close(self, stores: Mapping[str, Any]) -> None:
        for store in stores.values():
            store.close()
        shutil.rmtree(stores[""].path)

    def _free(self, lock: Any) -> None:
        lock._file.close()  # its name stays, as when a process dies

    def _bury(self, process: Process) -> None:
        for descriptor in self._descriptors.pop(process, ()):
            descriptor.close()

    def _collect(self, store: Any, limits: Limits = UNLIMITED) -> None:
        super()._collect(store, limits)
        reclaim.reclaim(store, limits, no_step)


class RunBench(LocalBench):
    """A LocalBench whose collectors are `jvs fs gc run`; one whose name begins with `plan` makes a plan before."""

    def _patches(self) -> Iterator[tuple[Any, str, Any]]:
        yield from super()._patches()
        yield reserve, "make", lambda path: None  # 16 MiB to write
        yield reserve, "release", lambda path: None

    def _collect(self, store: Any, limits: Limits = UNLIMITED) -> None:
        repo, options = Repo(store, "gc"), gc.RunOptions(trust_clock=True, max_bytes=limits.max_bytes)
        process = self.watch.current
        planning = process is not None and process.name.startswith("plan")
        try:
            plan_id = gc.plan(repo, trust_clock=True, progress=None).plan_id if planning else None
            gc.run(repo, plan_id, options, None)
        except StateError as error:
            if error.code not in ("gc-busy", "gc-plan-stale"):
                raise


class _Inline:
    """A writer's second thread, which does at once what it is given."""

    def run(self, job: Callable[[], None]) -> None:
        job()

    def wait(self) -> None:
        pass

    def stop(self) -> None:
        pass
