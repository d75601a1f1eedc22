"""What a merge is given: revisions, the entries their contents came from, and so the base.

A bare CA id has no entry; when it is a snapshot that was recorded as detached (a rejected push), the entries it came
from were recorded with it, else the newest entry that has this content stands for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from jvs.castore.backend import ReadTxn
from jvs.castore.digest import Digest, is_hex
from jvs.castore.names import display
from jvs.errors import CollectedError, UsageError
from jvs.labels import revisions
from jvs.labels.lineage import common_bases
from jvs.labels.model import Entry
from jvs.labels.purges import current
from jvs.labels.reads import existing_entry, newest_with
from jvs.labels.records import detached_parents
from jvs.labels.store import wall_clock
from jvs.labels.tables import DETACHED

if TYPE_CHECKING:
    from jvs.workspace.repo import Repo


class Operand(NamedTuple):
    """One side of a merge.

    text      as it was typed
    ca_id     its snapshot
    sources   the entries its content came from; () when nobody knows
    itself    `sources` is the entry that has this content
    label     the live label it was found through, if it is that label's head
    generation  of that label then
    """

    text: str
    ca_id: Digest
    sources: tuple[Digest, ...]
    itself: bool
    label: str | None
    generation: int | None

    @property
    def name(self) -> bytes:
        """What it is called behind conflict markers."""
        return display(self.text.encode("utf-8", "surrogateescape")).encode()


class Bases(NamedTuple):
    """What two sides have in common.

    entries   the best common ancestors; () when there are none, or the base was given
    contents  their snapshots
    given     the snapshot that was given as the base, or that two sides without ancestors have: None, an empty one
    note      what is to be said about it
    """

    entries: tuple[Digest, ...]
    contents: tuple[Digest, ...]
    given: Digest | None
    note: str = ""


def brief(text: str) -> str:
    """A revision for messages and commands: a whole id by its first digits."""
    return text[:12] if len(text) == 64 and is_hex(text) else text


def operand(repo: Repo, text: str) -> Operand:
    """What a revision means as a side of a merge. Raises as `Repo.resolve` does; UsageError for a path in a tree that
    is not a directory."""
    parsed = revisions.parse(text)
    with repo.store.read() as txn:  # one look: a label that moves between two would seem to stand elsewhere
        resolved = revisions.resolve(txn, parsed, now_ms=wall_clock())
        head = None if resolved.label is None else repo.labels.get_in(txn, resolved.label)
    ca_id = repo.snapshot_of(resolved)
    if resolved.path:
        return Operand(text, ca_id, (), False, None, None)
    if resolved.entry is None:
        return Operand(text, ca_id, *_sources(repo, ca_id), None, None)
    if head is not None and head.entry_id == resolved.entry.id:
        return Operand(text, ca_id, (head.entry_id,), True, head.name, head.generation)
    return Operand(text, ca_id, (resolved.entry.id,), True, None, None)


def _sources(repo: Repo, ca_id: Digest) -> tuple[tuple[Digest, ...], bool]:
    with repo.store.read() as txn:
        raw = txn.get(DETACHED, ca_id)
        if raw is not None and (parents := detached_parents(raw)):
            return repo.labels.kept_in(txn, parents), False
        newest = newest_with(txn, ca_id)
    return ((), False) if newest is None else ((newest.id,), True)


def find_bases(repo: Repo, ours: Operand, theirs: Operand, base: str | None, *, two_way: bool) -> Bases:
    """The base to merge over. base: a revision that was given; two_way: none is wanted.

    Raises CollectedError, naming both ways on, when the way to a common ancestor, or its snapshot, is no longer kept.
    """
    if two_way:
        return Bases((), (), None, "two-way, as asked: whatever differs on both sides is a conflict")
    if base is not None:
        given = repo.snapshot_of(repo.resolve(base))
        with repo.store.read() as txn:
            found = _common(txn, ours, theirs)
            known = any(_content(txn, entry) == given for entry in found)
        return Bases((), (), given, "" if known else f"{base} is not the merge base that the history has")
    with repo.store.read() as txn:
        try:
            found = common_bases(txn, ours.sources, theirs.sources)
        except CollectedError as error:
            raise _no_base(f"what {ours.text} and {theirs.text} have in common is no longer known") from error
    contents = tuple(tree_of(repo, entry) for entry in found)
    note = "" if found else f"{ours.text} and {theirs.text} have no common ancestor: a two-way merge"
    return Bases(tuple(found), contents, None, note)


def _common(txn: ReadTxn, ours: Operand, theirs: Operand) -> Sequence[Digest]:
    try:
        return common_bases(txn, ours.sources, theirs.sources)
    except CollectedError:
        return ()


def _content(txn: ReadTxn, entry_id: Digest) -> Digest | None:
    entry: Entry = existing_entry(txn, entry_id)
    return None if entry.to is None else current(txn, entry.to)


def tree_of(repo: Repo, entry_id: Digest) -> Digest:
    """The snapshot of an entry. Raises CollectedError."""
    with repo.store.read() as txn:
        content = _content(txn, entry_id)
    if content is None or not repo.has_snapshot(content):
        raise _no_base(f"a common ancestor ({entry_id.hex()[:12]}) is known, but its snapshot was collected")
    return content


def _no_base(message: str) -> CollectedError:
    return CollectedError(message, next="give a base yourself: --base REV (or --two-way, to merge without one)")


def check_sides(ours: Operand, theirs: Operand, base: str | None, *, two_way: bool) -> None:
    """Raise UsageError for what cannot be meant together."""
    if base is not None and two_way:
        raise UsageError("--two-way merges without a base; with --base it means nothing", next="jvs fs merge --help")
    if ours.text == theirs.text:
        raise UsageError(f"{ours.text} is given twice: there is nothing to merge", next="jvs fs merge OURS THEIRS")
