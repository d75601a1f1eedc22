"""Writing objects: packs taken, filled, synced and published (DESIGN 4.3, "a pack's life")."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, TypeVar

from jvs.castore.backend import Kind, Ref, Stored, WriteTxn, object_name, ref_of
from jvs.castore.digest import Digest
from jvs.castore.gc.marks import CondemnedError
from jvs.castore.gc.rescue import uncondemn
from jvs.castore.local.committed import check_not_rolled_back
from jvs.castore.local.descriptors import Descriptor, sync_data, sync_directory
from jvs.castore.local.failures import os_error
from jvs.castore.local.pack import (
    FIRST_LAYOUT,
    ID_SIZE,
    MAX_STORED,
    SEAL_AT,
    PackReader,
    encode_header,
    pack_header,
    pack_path,
)
from jvs.castore.local.tables import OPEN_PACKS, ObjectRow, PackRow
from jvs.castore.local.txn import LocalWriteTxn, Place
from jvs.castore.publish import Pending, PublishQueue
from jvs.errors import JvsError, MissingChildrenError, NoSpaceError, StoreError

if TYPE_CHECKING:
    from jvs.castore.local.store import LocalStore

T = TypeVar("T")

_BUFFER: Final = 1 << 20
_MAX_BUFFERS: Final = 512
_SYNC_EVERY: Final = 16 << 20
"""Bytes written before the background thread syncs them, so that a publish finds little left to wait for."""


_MOVE_BATCH: Final = 256


class _Pack:
    """A pack held by this writer (by the flock on it) and appended to by nobody else."""

    def __init__(self, pack: bytes, file: Descriptor, end: int, *, registered: bool) -> None:
        self.id = pack
        self.file = file
        self.end = end
        self.registered = registered
        self.recorded_end = end
        self.asked_end = end
        self.synced_end = end
        self.full = False
        self.recorded_full = False

    def due(self) -> bool:
        """Whether the index does not know yet how far this pack is written."""
        return self.end != self.recorded_end or self.full != self.recorded_full


class _Background:
    """One thread that does, in order, what need not be waited for; the first failure is kept for `wait`."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | threading.Event | None] = SimpleQueue()
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None

    def run(self, job: Callable[[], None]) -> None:
        """Do `job` later. After a failure nothing more is done."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="jvs-packs", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if isinstance(job, threading.Event):
                job.set()
            elif self._failure is None:
                try:
                    job()
                except BaseException as exc:
                    self._failure = exc

    def wait(self) -> None:
        """Return when everything has been done. Raises what a job raised."""
        if self._thread is not None:
            done = threading.Event()
            self._jobs.put(done)
            done.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End the thread when it has done what it was given; failures are forgotten."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None


class LocalWriter:
    """A `backend.ObjectWriter`. Made by `LocalStore.writer`."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self._queue: PublishQueue[Place] = PublishQueue(store)
        self._pack: _Pack | None = None
        self._held: list[_Pack] = []
        self._buffers: list[bytes] = []
        self._buffered = 0
        self._background = _Background()
        self._sync_failed = False
        self._ended = ""

    # -- putting

    def put(self, kind: Kind, key: Digest, stored: Stored, children: Sequence[Ref] = ()) -> None:
        """See `backend.ObjectWriter`."""
        self._check()
        if not self._queue.first(kind, key):
            return
        if len(stored.data) > MAX_STORED or stored.size > MAX_STORED:
            raise ValueError("an object of 4 GiB or more cannot be stored")
        seq = FIRST_LAYOUT if kind == Kind.LAYOUT else 0
        place = self._write(encode_header(kind, key, stored, seq), stored.data)
        self._queue.add(kind, key, stored.codec, stored.size, len(stored.data), children, place)

    def replace_layout(self, page: Digest, seq: int, stored: Stored, children: Sequence[Ref]) -> None:
        """See `backend.ObjectWriter`."""
        self._check()
        place = self._write(encode_header(Kind.LAYOUT, page, stored, seq + 1), stored.data)
        self._queue.add_layout(page, seq, stored.codec, stored.size, len(stored.data), children, place)

    def _write(self, *data: bytes) -> Place:
        """Append a record; where it lies."""
        try:
            pack = self._current()
            place = Place(pack.id, pack.end)
            self._append(pack, *data)
        except (OSError, JvsError) as exc:
            raise self._fail(exc) from exc
        return place

    def _current(self) -> _Pack:
        """The pack to append to: the one at hand, else a free one, else a new one."""
        if self._pack is not None and self._pack.end >= SEAL_AT:
            self._flush(self._pack)
            self._pack.full = True
            self._sync_later(self._pack)
            self._pack = None
        if self._pack is None:
            self._pack = self._take() or self._make()
            self._held.append(self._pack)
            if self._pack.end == 0:
                self._append(self._pack, pack_header(self._pack.id))
        return self._pack

    def _append(self, pack: _Pack, *data: bytes) -> None:
        for part in data:
            self._buffers.append(part)
            self._buffered += len(part)
            pack.end += len(part)
        if self._buffered >= _BUFFER or len(self._buffers) >= _MAX_BUFFERS:
            self._flush(pack)
            if pack.end - pack.asked_end >= _SYNC_EVERY:
                self._sync_later(pack)

    def _flush(self, pack: _Pack) -> None:
        """Write what is buffered; all of it belongs to `pack`."""
        buffers, at = self._buffers, pack.end - self._buffered
        left, self._buffers, self._buffered = self._buffered, [], 0
        while left:
            written = os.pwritev(pack.file.fd, buffers, at)
            left, at = left - written, at + written
            while buffers and written >= len(buffers[0]):
                written -= len(buffers.pop(0))
            if written:
                buffers[0] = memoryview(buffers[0])[written:].tobytes()

    def _sync_later(self, pack: _Pack) -> None:
        end = pack.asked_end = pack.end

        def sync() -> None:
            self._sync(pack, end)

        self._background.run(sync)

    def _sync(self, pack: _Pack, end: int) -> None:
        try:
            sync_data(pack.file.fd)
        except OSError:
            self._sync_failed = True
            raise
        pack.synced_end = end

    # -- taking and giving back packs

    def _take(self) -> _Pack | None:
        """An unsealed pack whose lock is free, cut back to what is committed; None when there is none."""
        with self._store.read() as txn:
            free = [pack for pack, _ in txn.scan(OPEN_PACKS)]
        held = {pack.id for pack in self._held}
        for pack in free:
            if pack not in held and (taken := self._try(pack)) is not None:
                return taken
        return None

    def _try(self, pack: bytes) -> _Pack | None:
        """This pack, if nobody holds it and it is what the index says; None otherwise."""
        try:
            file = Descriptor(pack_path(self._store.packs_path, pack), os.O_RDWR)
        except FileNotFoundError:
            return None  # verify reports it
        end = self._fit(pack, file) if file.lock(wait=False) else None
        if end is None:
            file.close()
            return None
        return _Pack(pack, file, end, registered=True)

    def _fit(self, pack: bytes, file: Descriptor) -> int | None:
        """Where to append to a pack that is locked, cut back to what is committed; None when it may not be.

        Its row is read in a write transaction: when a process was killed between the last write of a commit and its
        entry in LMDB's lock file, readers see the state before that commit until the next writer has put it right.
        """
        noted = self._store.noted()
        with self._store.write() as txn:
            row, status = txn.pack_row(pack), os.fstat(file.fd)
            if row is None or row.state != PackRow.OPEN or status.st_nlink != 1:
                return None
            if status.st_size < row.committed_end:
                # Something published lies in what is missing: nothing may be written where it was.
                txn.set_pack(pack, state=PackRow.SEALED, committed_end=row.committed_end)
                return None
            last = txn.id - 1
        if status.st_size > row.committed_end:
            check_not_rolled_back(noted, last)
            os.ftruncate(file.fd, row.committed_end)
        return row.committed_end

    def _make(self) -> _Pack:
        """A new pack, locked; the background makes its directory entry durable and registers it."""
        while True:
            pack = os.urandom(ID_SIZE)
            file = Descriptor(pack_path(self._store.packs_path, pack), os.O_RDWR | os.O_CREAT | os.O_EXCL)
            if file.lock(wait=False) and os.fstat(file.fd).st_nlink == 1:
                break
            file.close()  # a collector took it for a stray before it was locked
        made = _Pack(pack, file, 0, registered=False)

        def register() -> None:
            sync_directory(self._store.packs_path)
            with self._store.write() as txn:
                txn.add_pack(pack, PackRow())
            made.registered = True

        self._background.run(register)
        return made

    # -- publishing

    def read_back(self, look: Callable[[Kind, Digest, Stored], None]) -> None:
        """See `backend.ObjectWriter`."""
        self._check()
        try:
            if self._pack is not None:
                self._flush(self._pack)
        except OSError as exc:
            raise self._fail(exc) from exc
        with PackReader(self._store.packs_path) as reader:
            for item in self._queue.pending():
                ref = ref_of(item.name)
                try:
                    stored = reader.read(ref.kind, ref.key, item.place.pack, item.place.offset, item.stored)
                except OSError as exc:
                    raise os_error(exc, "reading back what was written") from exc
                look(ref.kind, ref.key, stored)

    def publish(self, then: Callable[[WriteTxn], T] | None = None) -> T | None:
        """See `backend.ObjectWriter`."""
        self._check()
        try:
            self._make_durable()
        except (OSError, JvsError) as exc:
            raise self._fail(exc) from exc
        result = self._queue.publish(self._recording, then)
        self._let_go()
        return result

    def _let_go(self) -> None:
        """Close the packs that are full and recorded."""
        for pack in self._held:
            if pack.full and not pack.due():
                pack.file.close()
        self._held = [pack for pack in self._held if pack.due() or pack is self._pack]

    def _make_durable(self) -> None:
        if self._pack is not None:
            self._flush(self._pack)
        self._background.wait()
        for pack in self._held:
            if pack.synced_end != pack.end:
                self._sync(pack, pack.end)

    @contextmanager
    def _recording(self) -> Iterator[LocalWriteTxn]:
        """A write transaction that also records how far this writer's packs are durable."""
        due = [pack for pack in self._held if pack.due()]
        with self._store.write() as txn:
            for pack in due:
                txn.set_pack(
                    pack.id, state=PackRow.SEALED if pack.full else PackRow.OPEN, committed_end=pack.end
                )
            yield txn
        for pack in due:
            pack.recorded_end = pack.end
            pack.recorded_full = pack.full

    # -- moving what is published (for the collector, and for repairs)

    def copy(self, raw: bytes) -> Place:
        """Append a whole record as it is; where it lies now. Nothing refers to it before `move`."""
        self._check()
        return self._write(raw)

    def move(self, moves: Sequence[tuple[bytes, Place, Place]]) -> int:
        """Make the copies durable, and let the index say so of each (name, old place, new place) of which it still
        says the old place; how many."""
        self._check()
        try:
            self._make_durable()
        except (OSError, JvsError) as exc:
            raise self._fail(exc) from exc
        moved = 0
        for start in range(0, len(moves), _MOVE_BATCH):
            with self._recording() as txn:
                moved += sum(txn.move_object(*move) for move in moves[start : start + _MOVE_BATCH])
        self._let_go()
        return moved

    def mend(self, mended: Sequence[tuple[ObjectRow, Kind, Digest, Stored]], then: Callable[[WriteTxn], None]) -> int:
        """Let objects that are in the index, but damaged, lie where they are written anew: each (row that was found to
        lead to damage, its kind and key, the object), if its row still says the same. As with `move`, nothing else
        about them changes. `then` runs in the transaction that does it; how many were mended."""
        self._check()
        places = [self._write(encode_header(kind, key, new, row.seq), new.data) for row, kind, key, new in mended]
        try:
            self._make_durable()
        except (OSError, JvsError) as exc:
            raise self._fail(exc) from exc
        with self._recording() as txn:
            done = sum(
                txn.move_object(object_name(kind, key), Place(row.pack, row.offset), place, new)
                for (row, kind, key, new), place in zip(mended, places, strict=True)
            )
            if done:
                then(txn)
        self._let_go()
        return done

    def insert_layout(
        self, page: Digest, stored: Stored, children: Sequence[Ref], then: Callable[[WriteTxn], None]
    ) -> None:
        """Give a page that has lost its layout one again; by rule 1 of publishing, and nothing when it has one now.
        `then` runs in the transaction. Raises MissingChildrenError."""
        self._check()
        name = object_name(Kind.LAYOUT, page)
        below = tuple(object_name(*child) for child in children)
        place = self._write(encode_header(Kind.LAYOUT, page, stored, FIRST_LAYOUT), stored.data)
        item = Pending(name, stored.codec, stored.size, len(stored.data), below, place)
        try:
            self._make_durable()
        except (OSError, JvsError) as exc:
            raise self._fail(exc) from exc
        while True:
            try:
                with self._recording() as txn:
                    if txn.height_of(object_name(Kind.PAGE, page)) is None or txn.layout_seq(page) is not None:
                        return
                    heights = {child: txn.height_of(child) for child in below}
                    if absent := [ref_of(child) for child, height in heights.items() if height is None]:
                        raise MissingChildrenError(absent)
                    if condemned := [c for c, height in heights.items() if txn.marks.condemned(c, height or 0)]:
                        raise CondemnedError(condemned)
                    txn.insert(item, 0)
                    txn.marks.tell((name, *below))  # the page above may have been visited already
                    txn.marks.unrooted()
                    then(txn)
                    return
            except CondemnedError as error:
                uncondemn(self._store, error.names)

    # -- failing and ending

    def _check(self) -> None:
        self._store.check_usable(writing=True)
        if self._ended:
            raise StoreError(f"this writer {self._ended}", code="handle-failed")

    def _fail(self, exc: OSError | JvsError) -> JvsError:
        """The error to raise for a failed write or sync, which finishes this writer.

        A write that met a full disk did no harm; after anything else, a failed sync above all, nobody knows what is
        on disk, and the store's handle is finished too.
        """
        error = exc if isinstance(exc, JvsError) else os_error(exc, "writing a pack")
        self._ended = "has failed"
        if self._sync_failed or not isinstance(error, NoSpaceError):
            self._seal_held()
            self._store.fail(error.message)
        return error

    def _seal_held(self) -> None:
        """Nobody appends to a pack any more whose writes or syncs have failed."""
        try:
            with self._store.write() as txn:
                for pack in self._held:
                    if pack.registered:
                        txn.set_pack(pack.id, state=PackRow.SEALED, committed_end=pack.recorded_end)
        except JvsError:
            pass  # the index cannot be written either: whoever takes the pack cuts it back to what is committed

    def close(self) -> None:
        """See `backend.ObjectWriter`."""
        self._background.stop()
        self._queue.release()
        for pack in self._held:
            self._give_back(pack)
        self._held, self._pack, self._buffers = [], None, []
        self._ended = self._ended or "has been closed"

    def _give_back(self, pack: _Pack) -> None:
        """Free what was written and not published, then the lock."""
        if pack.due() and pack.file.fd >= 0:
            try:
                if pack.registered:
                    os.ftruncate(pack.file.fd, pack.recorded_end)
                else:
                    os.unlink(pack_path(self._store.packs_path, pack.id))
            except OSError:
                pass  # the next one who takes the pack does it
        pack.file.close()

    def __enter__(self) -> LocalWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
