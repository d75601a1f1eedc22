"""A named session: an overlay whose upper layer is in the store, where it survives whoever has it open.

What keeps its base is a pin of the pointer plane, which lasts; while it is open also one that lives as long as the
process, so that a purge waits for it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Self

from jvs.castore.backend import WriteTxn
from jvs.castore.binding import Binding
from jvs.castore.diff import Difference, diff_trees
from jvs.castore.digest import Digest
from jvs.castore.gc.pins import pin_snapshot
from jvs.castore.hasher import TreeHasher
from jvs.castore.manifest import DIRECTORY, FILE
from jvs.castore.treewriter import TreeWriter
from jvs.errors import CollectedError, JvsError, LockedError, MissingObjectError, StateError, UnknownError, UsageError
from jvs.labels.durations import parse_duration
from jvs.labels.model import ANYTHING, Entry
from jvs.labels.moves import MoveRequest
from jvs.labels.names import AUTOSAVE, label_name_fault
from jvs.labels.store import wall_clock
from jvs.overlay.changes import Change
from jvs.overlay.fold import Folded
from jvs.workspace.overlays import RETRIES, OverlayPush, RepoOverlay, origin_of
from jvs.workspace.results import KINDS
from jvs.workspace.sessions.places import Holder, Places, in_use, remove_holder, tries, write_holder
from jvs.workspace.sessions.record import PinText, Pushed, Record, decode, encode, new_uid, parse_pin

if TYPE_CHECKING:
    from jvs.labels.pins import Pin
    from jvs.workspace.repo import Repo
    from jvs.workspace.sessions.control import Control


class Session(RepoOverlay):
    """A session that is open; see `RepoOverlay` for its calls. `close` keeps everything on disk. Made by
    `create_session` and `resume_session`."""

    name: str
    record: Record
    control: Control | None = None
    """The socket at which this process serves it, once it does; closed with it."""
    _next_pin: Pin | None = None

    def begin(self, repo: Repo, name: str, record: Record, origin: Binding) -> Self:
        """Have it open, whose upper layer this is. Raises CollectedError when its base is gone."""
        self.name, self.record = name, record
        self.bind(repo, origin, pin_snapshot(repo.store, self.base, f"session {name}"))
        self.announce(None)
        return self

    @property
    def directory(self) -> str:
        """Where its files are."""
        return self._upper.directory

    def announce(self, mountpoint: str | None) -> None:
        """Tell others that this process has it open, and where it is mounted."""
        holder = Holder(os.getpid(), os.uname().nodename, wall_clock(), mountpoint)
        write_holder(self.directory, holder)

    def close(self) -> None:
        """Let others have it; everything stays on disk. Idempotent."""
        if self._closed:
            return
        if self.control is not None:
            self.control.close()
        remove_holder(self.directory)
        super().close()

    # -- pushing

    def push(
        self,
        label: str | None = None,
        *,
        expected: str | None = None,
        message: str = "",
        merge: bool = False,
        force: bool = False,
        detach: bool = False,
        allow_purged: bool = False,
        retries: int = RETRIES,
    ) -> OverlayPush:
        """As `RepoOverlay.push`. The pin of the new base is made with the move of the label; where the session comes
        from is written down with the journal that is made anew; then the pin of the old base goes."""
        with self._lock:
            before = self.record.pin
            self._next_pin = None
            done = super().push(
                label,
                expected=expected,
                message=message,
                merge=merge,
                force=force,
                detach=detach,
                allow_purged=allow_purged,
                retries=retries,
            )
            if self.record.pin != before:
                self._let_go()
            return done

    def _let_go(self) -> None:
        """The journal has a new base: keep that, and nothing that was the base before."""
        old = [pin.id for pin, _ in own_pins(self._repo, self.name, self.record.uid) if pin.id != self.record.pin]

        def write(txn: WriteTxn) -> None:
            for pin in old:
                with suppress(UnknownError):  # somebody else removed it
                    self._repo.labels.unpin_in(txn, pin)
            self._keep_in(txn, self.base)

        with suppress(JvsError):  # what led here is done; whoever opens it next sees to the pins
            self._repo.store.transact(write)
            self._kept = self.base

    def _moving(self, txn: WriteTxn, snapshot: Digest, target: Binding) -> None:
        assert target.label is not None
        assert target.ca_id is not None
        pushed = Pushed(target.label, target.generation, snapshot)
        text = PinText(self.name, self.record.uid, self.record.pushes + 1, pushed)
        self._next_pin = self._repo.labels.pin_in(txn, target.ca_id, message=str(text))

    def _follow(self, origin: Binding) -> None:
        assert origin.ca_id is not None
        pin = self._next_pin
        if pin not in self._repo.labels.pins():  # made in a transaction that did not commit
            pin = None
        if pin is None and origin.ca_id == self.base:
            self._write_down(origin, self.record)
            return
        if pin is None:  # the label was there already
            text = PinText(self.name, self.record.uid, self.record.pushes + 1)
            pin = self._repo.labels.pin(origin.ca_id, message=str(text))
        self._go_on_from(origin, pin)

    def _go_on_from(self, origin: Binding, pin: Pin) -> None:
        """What is kept from now on is what `pin` keeps."""
        self._write_down(origin, self.record._replace(pushes=self.record.pushes + 1, pin=pin.id))

    def _write_down(self, origin: Binding, record: Record) -> None:
        """In memory; the journal that is made next has it."""
        self.origin, self.record = origin, record
        self._upper.info.update(encode(record, origin))

    def recover(self) -> None:
        """Go on from a push whose process was killed before it was written down here, and see to the pins."""
        kept = False
        for pin, text in own_pins(self._repo, self.name, self.record.uid):
            if text.number == self.record.pushes:
                kept = True
            elif text.number == self.record.pushes + 1 and text.pushed is not None and self._is_at(text.pushed.state):
                self._complete(text.pushed, pin)
                self._let_go()
                kept = True
            else:
                with suppress(UnknownError):
                    self._repo.labels.unpin(pin.id)
        if not kept:  # somebody unpinned it
            text = PinText(self.name, self.record.uid, self.record.pushes)
            self._repo.labels.pin(self.base, message=str(text))

    def _is_at(self, snapshot: Digest) -> bool:
        """Whether it is that snapshot, and so nothing was done since."""
        return self.fold(TreeHasher(self._repo.objects)).tree.digest == snapshot

    def _complete(self, pushed: Pushed, pin: Pin) -> None:
        """A push moved the label, and was not written down."""
        entry_id = None
        with suppress(UnknownError, CollectedError):  # the label was deleted or renamed since
            entry = self._repo.resolve(f"{pushed.label}@{pushed.generation}").entry
            entry_id = None if entry is None else entry.id
        origin = Binding(pushed.label, pushed.generation, pin.ca_id, entry_id)
        self._go_on_from(origin, pin)
        self.rebase(pin.ca_id)

    # -- what is not a push

    def alone(self) -> AbstractContextManager[object]:
        """Nobody else can use it meanwhile, in this process or at a mount."""
        return self._lock

    def destroy(self, places: Places) -> None:
        """Remove its files and its pins; nothing but `close` can follow."""
        with places.alone():
            places.remove(self.directory, self.record.uid)
            unpin(self._repo, self.name, self.record.uid)

    def changes(self) -> Iterator[Change]:
        """As `Overlay.changes`; where its base was made anew (`replant`) since it was opened or last pushed: what
        differs from what it comes from, exactly."""
        origin = self._repo.standing(self.origin.ca_id) if self.origin.ca_id is not None else None
        if origin in (self.base, self._repo.standing(self.base)):
            return super().changes()
        hasher = TreeHasher(self._repo.objects)
        with self._lock:
            folded = self.fold(hasher).tree.digest
            return iter([_change(one) for one in diff_trees(hasher.page, origin, folded)])

    def replant(self) -> None:
        """Make a snapshot of what it is now its base; where it comes from stays. For a base that is about to go. Raises
        PurgedContentError, MissingObjectError and others: then nothing was changed."""
        text = PinText(self.name, self.record.uid, self.record.pushes + 1)
        with self._lock, TreeWriter(self._repo.objects) as writer:
            writer.work_alone()

            def store(folded: Folded) -> bool:
                ca_id = folded.tree.digest
                pin = writer.publish(lambda txn: self._repo.labels.pin_in(txn, ca_id, message=str(text)))
                assert pin is not None
                self._go_on_from(self.origin, pin)
                return True

            self.commit(writer, store)
            self._let_go()

    def autosave(self) -> str:
        """Save what it is now under a label of its own, which no retention policy drops before its time; the revision
        that brings it back."""
        label = f"{AUTOSAVE}/session-{self.name}"
        if label_name_fault(label) is not None:
            label = f"{AUTOSAVE}/session-{self.record.uid}"
        entries: list[Entry] = []
        with self._lock, TreeWriter(self._repo.objects) as writer:

            def store(folded: Folded) -> bool:
                def move(txn: WriteTxn) -> Entry:
                    labels = self._repo.labels
                    came_from = () if self.origin.entry_id is None else (self.origin.entry_id,)
                    parents = labels.kept_in(txn, came_from)
                    message = f"the session {self.name}, whose time was over"
                    return labels.move_in(
                        txn, MoveRequest(label, folded.tree.digest, ANYTHING, "autosave", parents, message)
                    )

                entry = writer.publish(move)
                assert entry is not None
                entries.append(entry)
                return False

            self.commit(writer, store)
        return f"{label}@{entries[0].generation}"


def own_pins(repo: Repo, name: str, uid: str | None) -> list[tuple[Pin, PinText]]:
    """The pins of the session of that name and uid (None: whatever it is), the oldest first."""
    found = [(pin, text) for pin in repo.labels.pins() if (text := parse_pin(pin.message)) is not None]
    return [(pin, text) for pin, text in found if text.name == name and uid in (None, text.uid)]


def unpin(repo: Repo, name: str, uid: str | None) -> None:
    """Remove those."""
    for pin, _ in own_pins(repo, name, uid):
        with suppress(UnknownError):
            repo.labels.unpin(pin.id)


def _change(one: Difference) -> Change:
    entry = one.after or one.before
    assert entry is not None
    status = "modified"
    if one.before is None or one.after is None:
        status = "added" if one.before is None else "deleted"
    elif one.before[1] != one.after[1]:
        status = "type"
    elif one.before[1] == DIRECTORY or (one.before[1] == FILE and one.before[4] == one.after[4]):  # type: ignore[misc]
        status = "mode"
    return Change(b"/".join(one.path), status, KINDS[entry[1]])


def create_session(
    repo: Repo, revision: str, name: str | None = None, *, ttl: str | None = None, opener: str | None = None
) -> Session:
    """A new session over what a revision means, open in this process; O(1).

    name    what it is called; None: after the label, with a number
    ttl     how long it is kept at least when nobody has it open, as `7d`; None: until it is dropped
    opener  who makes it; None: the actor of `repo`
    Raises UsageError (bad-name, bad-duration), StateError (already-exists), UnknownError, CollectedError.
    """
    repo.store.check_usable(writing=True)
    places = Places(repo.store.path)
    now = wall_clock()
    until = None if ttl is None else now + parse_duration(ttl)
    if until == now:
        raise UsageError("a session is kept for some time", code="bad-duration")
    origin, time_ns = origin_of(repo, revision)
    base = origin.ca_id
    assert base is not None
    with places.alone():
        if name is None:
            name = places.free_name(origin.label or "session")
        path = places.path(name)
        if os.path.lexists(path):
            raise StateError(
                f"there is a session {name} already",
                next=f"choose another name, or go on with it: jvs fs status {name}",
                session=name,
            )
        uid = new_uid()
        pin = repo.labels.pin(base, message=str(PinText(name, uid, 0)))
        record = Record(uid, 0, pin.id, now, repo.actor if opener is None else opener, until)
        aside = places.aside(uid)
        session = None
        try:
            session = Session.create(repo.objects, base, aside, time_ns=time_ns, info=encode(record, origin))
            places.settle(aside, path)
            session._upper.renamed(path)
            return session.begin(repo, name, record, origin)
        except BaseException:
            for made in (aside, path):
                shutil.rmtree(made, ignore_errors=True)
            if session is not None:
                session.close()
            with suppress(JvsError):  # what cannot be removed now the next gc removes
                repo.labels.unpin(pin.id)
            raise


def resume_session(repo: Repo, name: str) -> Session:
    """Go on with a session, as it was left, by whatever end. Raises UnknownError (unknown-session), LockedError (with
    `pid`, `host`, `mountpoint` in its details) while another process has it open, CollectedError when its base is
    gone, IntegrityError."""
    repo.store.check_usable(writing=True)
    path = Places(repo.store.path).existing(name)
    session = _open(repo, name, path)
    try:
        record, origin = decode(session.info)
        session.begin(repo, name, record, origin)
        session.recover()
    except (MissingObjectError, CollectedError) as error:
        session.close()
        raise _no_base(name) from error
    except BaseException:
        session.close()
        raise
    return session


def _open(repo: Repo, name: str, path: str) -> Session:
    for last in tries():
        try:
            return Session.resume(repo.objects, path)
        except LockedError:
            if last:
                raise in_use(name, path) from None
        except FileNotFoundError:
            raise UnknownError(f"there is no session {name}", code="unknown-session", session=name) from None
        except (MissingObjectError, CollectedError) as error:
            raise _no_base(name) from error
    raise AssertionError("the last try returns or raises")


def _no_base(name: str) -> CollectedError:
    return CollectedError(
        f"what the session {name} was opened from is no longer in the store: it was unpinned and collected, or purged",
        next=f"jvs fs drop {name} --force",
        session=name,
    )
