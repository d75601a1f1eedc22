"""`fs purge`: named content leaves every snapshot that is kept, and then the store, for good (docs/purge.md).

The order, each step of which a crash may end; the same command goes on:

1. Everything that is kept is looked through, and what is about to happen is journaled.
2. The digests that go are put on the list of what nobody may store again.
3. Every snapshot that has what was named gets one that has not; from the transaction that says so on it takes the old
   one's place wherever that is named: in histories, tags, pins, records. 1 to 3 again until there is no such snapshot,
   since somebody may have pushed one meanwhile.
4. Each label gets an entry that says so, and its head moves.
5. Pages that share a part with something dead are laid out anew.
6. A collection removes what nothing needs now.
7. Packs with dead bytes in them are rewritten.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from jvs.castore import purged
from jvs.castore.backend import Kind, ReadTxn, WriteTxn, object_name
from jvs.castore.batches import batched
from jvs.castore.digest import Digest, file_digest, keyed
from jvs.castore.gc.collection import Collection, Limits, Removed, take_over
from jvs.castore.gc.mark import Mark
from jvs.castore.gc.nameset import Budget
from jvs.castore.gc.pins import live_pins
from jvs.castore.gc.relayout import relayout, riddled
from jvs.castore.gc.select import Listener, Rewriter, Selection
from jvs.castore.local import quarantine, reserve
from jvs.castore.local.reclaim import reclaim, rewrite, tainted
from jvs.castore.manifest import DIRECTORY, small_files
from jvs.castore.names import display
from jvs.castore.objects import ObjectStore
from jvs.castore.treewriter import TreeWriter
from jvs.errors import CollectedError, MissingChildrenError, MissingObjectError, StateError, UnknownError, UsageError
from jvs.labels import purges
from jvs.labels.model import MAX_MESSAGE, check_text
from jvs.labels.purges import MAX_DIGESTS, MAX_PAIRS, PurgeRow
from jvs.labels.roots import roots
from jvs.labels.store import wall_clock
from jvs.labels.tables import owner_of
from jvs.workspace import directories
from jvs.workspace.purge_plan import Survey, Surveyor, protected
from jvs.workspace.purge_results import UNREACHABLE, PurgeResult
from jvs.workspace.sessions.clear import clear_sessions

if TYPE_CHECKING:
    from jvs.workspace.progress import Progress
    from jvs.workspace.repo import Repo

T = TypeVar("T")

MAX_NAMED: Final = 4096
"""Most bytes of all patterns together."""
ROUNDS: Final = 50
"""How often the snapshots are looked through, while others push more that have what was named."""
ATTEMPTS: Final = 5
"""How often is tried to be rid of what somebody still needs ..."""
PAUSE: Final = 0.5
"""... and how many seconds to wait in between, also for packs that somebody writes to."""
IN_META: Final = 32
"""Snapshots that an entry lists; all of them are in the journal."""

_what = keyed("jvs 2026-11 purge v1")


class PurgeOptions(NamedTuple):
    """What `fs purge` was asked to do: patterns of paths, or one snapshot, and why."""

    paths: Sequence[bytes] = ()
    snapshot: str | None = None
    reason: str = ""
    dry_run: bool = False

    def check(self) -> None:
        """Raise UsageError for what cannot be meant."""
        if bool(self.paths) == (self.snapshot is not None):
            raise UsageError("a purge is of --path GLOB, or of --snapshot REV", next="jvs fs purge --help")
        if not self.reason.strip() and not self.dry_run:
            raise UsageError("a purge is recorded with its reason", next="say why: --reason TEXT")
        check_text(self.reason, MAX_MESSAGE, "the reason", "bad-message")
        if sum(map(len, self.paths)) > MAX_NAMED:
            raise UsageError(f"the patterns may have {MAX_NAMED:,} bytes together")


def purge(repo: Repo, options: PurgeOptions, progress: Progress | None) -> PurgeResult:
    """Carry it out, or say what it would do.

    Raises UnknownError (unknown-path) when nothing that is kept has what was named, StateError (snapshot-in-use) for
    the head of a label, IntegrityError when something that is kept cannot be read: then nothing was removed.
    """
    options.check()
    selection = Selection(options.paths)
    whole = None if options.snapshot is None else _snapshot(repo, options.snapshot)

    def step(number: int) -> None:
        if progress is not None:
            progress.update(0, None, number)

    if options.dry_run:
        return _rehearse(repo, selection, whole, step)
    repo.store.check_usable(writing=True)
    reserve.release(repo.store.path)
    try:
        return _Purge(repo, options, selection, whole, step).go()
    finally:
        reserve.make(repo.store.path)


def _snapshot(repo: Repo, revision: str) -> Digest:
    """The snapshot meant, also one whose purge was begun."""
    try:
        resolved = repo.resolve(revision)
    except CollectedError as error:
        with repo.store.read() as txn:
            gone = bytes.fromhex(error.details.get("ca_id", ""))
            if not gone or purges.unfinished(txn, _what(gone)) is None:
                raise
        return gone
    if resolved.path:
        raise UsageError("a snapshot is purged as a whole; name what is in it by --path", code="bad-revision")
    return resolved.ca_id


def _rehearse(repo: Repo, selection: Selection, whole: Digest | None, step: Callable[[int], None]) -> PurgeResult:
    found = _found(repo, Surveyor(repo, selection, whole, step).look, whole)
    if not found.snapshots:
        raise _nothing(whole)
    return PurgeResult(
        None,
        True,
        True,
        found.paths,
        len(found.snapshots),
        found.labels,
        len(found.gone),
        sum(found.gone.values()),
        found.also,
        len(found.shared),
        sum(found.shared.values()),
    )


def _found(repo: Repo, look: Callable[[], T], whole: Digest | None) -> T:
    """What `look` gives, again when a collector took what was read; checks that no label is at what goes as a whole."""
    for left in reversed(range(ROUNDS)):
        try:
            if whole is not None:
                for info in repo.labels.list():
                    if info.ca_id == whole:
                        raise _in_use(info.name, whole)
            return look()
        except MissingObjectError:
            if not left:
                raise
    raise AssertionError


class _Purge:
    """One run; what it did so far."""

    def __init__(
        self, repo: Repo, options: PurgeOptions, selection: Selection, whole: Digest | None, step: Callable[[int], None]
    ) -> None:
        self._repo = repo
        self._store = repo.store
        self._options = options
        self._selection = selection
        self._whole = whole
        self._step = step
        self._surveyor = Surveyor(repo, selection, whole, step)
        self._what = _what(whole if whole is not None else b"\0".join(sorted(set(options.paths))))
        with self._store.read() as txn:
            begun = purges.unfinished(txn, self._what)
        self._id = begun
        self._first: Survey | None = None
        self._snapshots = 0
        self._files: dict[Digest, int] = {}
        self._removed = Removed()
        self._pages = self._packs = self._recorded = 0
        self._left: list[str] = []

    def go(self) -> PurgeResult:
        """Do it."""
        self._replace_all()
        labels = self._note_in_labels()
        self._forget_derived()
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(PAUSE)
                self._replace_all()
                self._note_in_labels()
            sessions = clear_sessions(self._repo, self._options.paths)
            parts, lasting = self._lay_out()
            self._collect()
            # A push may have built on what was still there: it is looked for again, now that it is not.
            again = _found(self._repo, self._surveyor.changed, self._whole)
            if not again and not self._still_there(parts, lasting):
                break
        else:
            self._left.append(
                "something that is running still needs some of it; run the same command again when it has ended"
            )
        self._left += sessions
        self._rewrite_packs()
        return self._finish(labels)

    # -- snapshots

    def _replace_all(self) -> None:
        """Until nothing that is kept has what was named."""
        for _ in range(ROUNDS):
            found = _found(self._repo, self._surveyor.look, self._whole)
            if not found.snapshots:
                if self._id is None:
                    raise _nothing(self._whole)
                return
            if self._first is None:
                self._first = found
            self._begin()
            self._list(found)
            with suppress(MissingObjectError, MissingChildrenError, CollectedError):  # collected meanwhile: look again
                self._replace(found)
        raise StateError(
            "snapshots with what was named were pushed again and again", code="gc-busy", next="run it again"
        )

    def _begin(self) -> None:
        if self._id is not None:
            return
        self._id = os.urandom(purges.ID_SIZE)
        said = {
            "actor": self._repo.actor,
            "reason": self._options.reason,
            "paths": list(self._options.paths),
            "snapshot": self._whole,
        }
        with self._store.write() as txn:
            purges.write_purge(txn, self._id, PurgeRow(wall_clock(), False, self._what), said)

    def _list(self, found: Survey) -> None:
        """Put what goes on the list."""
        assert self._id is not None
        self._files.update(found.gone)
        for batch in batched([*found.gone, *found.chunks], MAX_DIGESTS):
            with self._store.write() as txn:
                fresh = [digest for digest in batch if not purged.is_purged(txn, digest)]
                if fresh:
                    purges.write_content(txn, self._id, fresh, self._repo.actor)

    def _replace(self, found: Survey) -> None:
        """Make the snapshots without what was named, and let them take the place of the old ones."""
        objects = ObjectStore(self._store, self._store.settings)
        with TreeWriter(objects, allow_purged=True) as writer:
            ignored = Listener(lambda *_: None, lambda *_: None)
            rewriter = Rewriter(writer, self._selection, ignored, self._step)
            for batch in batched(found.snapshots, MAX_PAIRS):
                pairs = [(old, None if old == self._whole else rewriter.without(old)) for old in batch]

                def record(txn: WriteTxn, pairs: list[tuple[Digest, Digest | None]] = pairs) -> None:
                    assert self._id is not None
                    if self._whole is not None:
                        _check_no_head(txn, self._whole)
                    purges.write_replaced(txn, self._id, pairs, self._repo.actor)

                writer.publish(record)
        with self._store.read() as txn:
            assert self._id is not None
            self._snapshots = sum(1 for _ in purges.replaced(txn, self._id))

    # -- labels

    def _note_in_labels(self) -> tuple[str, ...]:
        """Give each label whose history has an old snapshot its entry; their names."""
        assert self._id is not None
        purge = self._id
        concerned: dict[bytes, list[tuple[Digest, Digest | None]]] = {}
        counts: dict[bytes, int] = {}
        names = []
        with self._store.read() as txn:
            began = purges.began(txn, purge)
            for old, new in purges.replaced(txn, purge):
                for uid in set(purges.labels_of(txn, old)):
                    counts[uid] = counts.get(uid, 0) + 1
                    pairs = concerned.setdefault(uid, [])
                    if len(pairs) < IN_META:
                        pairs.append((old, new))
        for uid, pairs in concerned.items():
            meta = {
                "purge": purge.hex(),
                "snapshots": counts[uid],
                "replaced": {old.hex(): "" if new is None else new.hex() for old, new in pairs},
            }

            def note(txn: WriteTxn, uid: bytes = uid, meta: dict[str, object] = meta) -> str | None:
                owner = owner_of(txn, uid)
                if owner is None or not owner.live:
                    return None
                if not purges.noted_in(txn, uid, purge, began):
                    self._repo.labels.purge_in(txn, owner.name, self._options.reason, meta)
                return owner.name

            name = self._store.transact(note)
            names += [] if name is None else [name]
        return tuple(sorted(names))

    # -- what is derived

    def _forget_derived(self) -> None:
        """Forget stat indexes (a push that believed one would take subtrees over without looking into them) and
        recorded resolutions."""
        folder = os.path.join(self._repo.cache_dir, "directories")
        with suppress(FileNotFoundError):
            for name in os.listdir(folder):
                if name.endswith(".index"):
                    with suppress(FileNotFoundError):
                        os.unlink(os.path.join(folder, name))
        recorded = self._repo.recorded
        with self._store.read() as txn:
            gone = [
                one.id
                for one in recorded.list()
                if self._selection.names(one.path.split(b"/"))
                or any(purged.is_purged(txn, file_digest(text)) for text in (one.before, one.after))
            ]
        for name in gone:
            recorded.forget(name)
        self._recorded += len(gone)

    # -- objects

    def _roots(self, txn: ReadTxn) -> Iterator[Digest]:
        return (root.ca_id for root in roots(txn, 0))

    def _lay_out(self) -> tuple[set[Digest], Mark]:
        """Lay out anew the pages that share a part with something dead; those parts, and all that lasts."""
        objects = ObjectStore(self._store, self._store.settings)
        for left in reversed(range(ROUNDS)):
            mark = Mark(self._store, Budget(None))
            try:
                # what only something running needs does not count: it is waited for
                mark.add(object_name(Kind.PAGE, root) for root in protected(self._repo))
                mark.run(self._step)
                break
            except MissingObjectError:
                if not left:
                    raise
        pages = mark.reached.of(Kind.LAYOUT, 0)
        parts = riddled(objects, pages, self._step)
        if parts:
            self._pages += relayout(objects, pages, parts, self._store.settings.zstd_level, self._step)
        return parts, mark

    def _collect(self) -> None:
        """Remove everything that nothing needs. Nothing leaves its window by this."""
        self._removed = self._removed.plus(take_over(self._store, Limits(), self._step))
        whole = False
        while not whole:
            with Collection(self._store, Budget(None)) as collection:
                collection.mark(self._roots, self._step)
                whole = collection.condemn(collection.unreached(self._step))
                swept = collection.sweep(Limits(), self._step)
            self._removed = self._removed.plus(swept._replace(done=True))
            if not whole:  # the disk was too full to list everything: what went makes room for the rest
                reclaim(self._store, Limits(), self._step)
                if not swept.objects:
                    return

    def _still_there(self, parts: set[Digest], lasting: Mark) -> bool:
        """Whether something that was to go is in the index all the same."""
        store = self._store
        if len(store.missing(Kind.PART, parts)) != len(parts):
            return True
        with store.read() as txn:
            listed = (digest for digest, purge in txn.scan(purged.PURGED) if purge == self._id)
            if any(txn.info(kind, digest) is not None for digest in listed for kind in (Kind.CHUNK, Kind.RECIPE)):
                return True
            pinned = [name[1:] for _, name in live_pins(txn, store.locks) if name[0] == Kind.PAGE]
        return self._holds_some(pinned, lasting)

    def _holds_some(self, pages: list[Digest], lasting: Mark) -> bool:
        """Whether there is something on the list below one of these pages; what lasts has none."""
        waiting, seen = pages, set(pages)
        while waiting:
            key = waiting.pop()
            info = self._store.infos(Kind.PAGE, (key,))[0]
            if info is None or not any(lasting.reached.of(Kind.PAGE, info.height).without((key,))):
                continue
            try:
                page = self._repo.objects.page(key)
            except MissingObjectError:
                continue
            with self._store.read() as txn:
                if any(purged.is_purged(txn, file.digest) for file in small_files(page.entries)):
                    return True
            below = [row.digest for row in page.children]
            below += [entry[3] for entry in page.entries if entry[1] == DIRECTORY]
            waiting += [one for one in below if one not in seen]
            seen.update(below)
        return False

    # -- packs

    def _rewrite_packs(self) -> None:
        """Rewrite the packs in which something dead lies that may be what was purged: a chunk that is on the list, or
        whatever is no chunk, since a dead part does not say whose bytes it holds."""

        def suspect(kind: Kind, key: Digest) -> bool:
            if kind != Kind.CHUNK:
                return True
            with self._store.read() as txn:
                return purged.is_purged(txn, key)

        waiting = tainted(self._store, suspect, self._step)
        unsound: set[bytes] = set()
        for attempt in range(ATTEMPTS):
            if not waiting:
                break
            time.sleep(PAUSE if attempt else 0)
            done = rewrite(self._store, waiting, self._step)
            self._packs += done.reclaimed.rewritten + done.reclaimed.dropped
            unsound.update(done.unsound)
            waiting = list(done.held)
        if waiting:
            self._left.append(f"{len(waiting)} packs are being written to; run the same command again")
        if unsound:
            self._left.append(f"{len(unsound)} packs hold something damaged that is needed: jvs doctor --repair")

    def _finish(self, labels: tuple[str, ...]) -> PurgeResult:
        first = self._first
        result = PurgeResult(
            self._id,
            not self._left,
            False,
            () if first is None else first.paths,
            self._snapshots,
            labels,
            len(self._files),
            sum(self._files.values()),
            () if first is None else first.also,
            0 if first is None else len(first.shared),
            0 if first is None else sum(first.shared.values()),
            self._recorded,
            self._pages,
            self._removed.objects,
            self._packs,
            tuple(self._left),
            (*UNREACHABLE, *self._on_disk(), *_set_aside(self._store.path)),
        )
        self._repo.objects.forget()
        if not self._left:
            assert self._id is not None
            counts = {"snapshots": self._snapshots, "objects": result.objects, "packs": result.packs}
            with self._store.write() as txn:
                purges.write_done(txn, self._id, counts, self._repo.actor)
        return result

    def _on_disk(self) -> Iterator[str]:
        """Directories that are known, and have some of the paths still."""
        paths = () if self._first is None else self._first.paths
        for directory, _ in directories.bound(self._repo):
            for path in paths:
                if os.path.lexists(os.path.join(directory, path)):
                    yield f"{display(directory)}, which still has {display(path)}"
                    break


def _set_aside(store: str) -> Iterator[str]:
    """What repairs took out of use is for people to look at, and to remove."""
    folder = os.path.join(store, quarantine.FOLDER)
    with suppress(FileNotFoundError):
        if os.listdir(folder):
            yield f"what repairs put aside in {folder}"


def _check_no_head(txn: ReadTxn, ca_id: Digest) -> None:
    """Raise StateError when a label is at that snapshot."""
    for uid in purges.labels_of(txn, ca_id):
        name = purges.standing_at(txn, uid, ca_id)
        if name is not None:
            raise _in_use(name, ca_id)


def _in_use(name: str, ca_id: Digest) -> StateError:
    return StateError(
        f"{name} is at {ca_id.hex()[:12]}: a label has to be somewhere",
        code="snapshot-in-use",
        next=f"jvs fs reset {name} REV (or push what it is to be), then purge",
        label=name,
        ca_id=ca_id.hex(),
    )


def _nothing(whole: Digest | None) -> UnknownError:
    if whole is not None:
        return UnknownError(f"nothing keeps the snapshot {whole.hex()[:12]}", next="jvs fs gc run")
    return UnknownError("no snapshot that is kept has such a path", code="unknown-path", next="jvs fs tree REV")
