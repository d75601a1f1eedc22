"""What a purge is about: which snapshots have what was named, what content goes with it, and what of it stays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from jvs.castore.backend import Kind
from jvs.castore.digest import Digest
from jvs.castore.gc.mark import Step
from jvs.castore.gc.nameset import Budget, NameSet
from jvs.castore.gc.select import INSIDE, Listener, Namer, Rewriter, Selection, occurrences
from jvs.castore.manifest import FILE
from jvs.castore.objects import ObjectStore
from jvs.castore.recipe import CHUNKS
from jvs.errors import MissingObjectError
from jvs.labels.roots import roots
from jvs.workspace.purge_results import Also

if TYPE_CHECKING:
    from jvs.workspace.repo import Repo

SHOWN: Final = 20
"""Paths that a result lists."""
_BATCH: Final = 1024


class Survey(NamedTuple):
    """What was found.

    snapshots   (old, new) of the snapshots that change; new None: nothing takes its place
    labels      whose heads or histories have one of them
    gone        digest and plain size of each content that goes
    stays       those that were named, but stay
    paths       the first paths that were named
    also        where what stays is
    chunks      of what goes, that nothing else has
    shared      chunks of what goes that something else has, and their lengths
    """

    snapshots: dict[Digest, Digest | None]
    labels: tuple[str, ...]
    gone: dict[Digest, int]
    stays: dict[Digest, int]
    paths: tuple[bytes, ...]
    also: tuple[Also, ...]
    chunks: frozenset[Digest]
    shared: dict[Digest, int]


def protected(repo: Repo) -> dict[Digest, set[str]]:
    """Every snapshot that anything lasting keeps, with the labels for which it does."""
    found: dict[Digest, set[str]] = {}
    with repo.store.read() as txn:
        for root in roots(txn, 0):
            found.setdefault(root.ca_id, set()).update(() if root.label is None else (root.label,))
    return found


class Surveyor:
    """Looks through everything that is kept. What it has seen it does not look at again: the next look costs what is
    new since.

    whole: a snapshot that goes as a whole, beside what is selected.
    """

    def __init__(self, repo: Repo, selection: Selection, whole: Digest | None, step: Step) -> None:
        self._repo = repo
        self._selection = selection
        self._whole = whole
        self._objects = ObjectStore(repo.store, repo.store.settings)
        self._kept = Budget(None).set()
        self._named: dict[Digest, int] = {}
        listener = Listener(self._named.__setitem__, lambda digest, _size: self._kept.update((digest,)))
        self._rewriter = Rewriter(Namer(self._objects), selection, listener, step)
        self._clean: set[Digest] = set()

    def changed(self) -> dict[Digest, Digest | None]:
        """(old, new) of the snapshots that have what was named. Raises IntegrityError for what cannot be read,
        MissingObjectError also for what a collector took meanwhile."""
        return self._changed(protected(self._repo))

    def _changed(self, known: Iterable[Digest]) -> dict[Digest, Digest | None]:
        changed: dict[Digest, Digest | None] = {}
        for root in known:
            if root in self._clean:
                continue
            if root == self._whole:
                changed[root] = None
                self._rewriter.look(root, INSIDE)
            elif (new := self._rewriter.without(root)) != root:
                changed[root] = new
                self._clean.add(new)
            else:
                self._clean.add(root)
        return changed

    def look(self) -> Survey:
        """What there is now. Raises as `changed` does."""
        known = protected(self._repo)
        changed = self._changed(known)
        gone = {digest: self._named[digest] for digest in self._kept.without(sorted(self._named))}
        stays = {digest: size for digest, size in self._named.items() if digest not in gone}
        only, shared = _chunks(self._objects, gone, self._kept)
        left = [root for root in known if root != self._whole]
        return Survey(
            changed,
            tuple(sorted({label for root in changed for label in known[root]})),
            gone,
            stays,
            tuple(_named_paths(self._objects, self._selection, changed)),
            tuple(_where(self._objects, self._selection, left, stays)) if self._whole is None else (),
            only,
            shared,
        )


def _named_paths(objects: ObjectStore, selection: Selection, changed: Iterable[Digest]) -> Iterator[bytes]:
    found = (one.path for one in occurrences(objects, selection, changed) if one.named)
    yield from islice(dict.fromkeys(islice(found, _BATCH)), SHOWN)


def _where(
    objects: ObjectStore, selection: Selection, left: Iterable[Digest], stays: dict[Digest, int]
) -> Iterator[Also]:
    wanted = set(stays)
    if not wanted:
        return
    for one in occurrences(objects, selection, left):
        if one.entry[1] == FILE and not one.named and one.entry[4] in wanted:
            wanted.discard(one.entry[4])
            yield Also(one.root, one.path, one.entry[3])
        if not wanted:
            return


def _chunks(
    objects: ObjectStore, gone: dict[Digest, int], kept: NameSet
) -> tuple[frozenset[Digest], dict[Digest, int]]:
    """(chunks that only contents that go have, those that others have as well with their lengths)."""
    limit = objects.settings.inline_limit
    store = objects.backend
    large = [digest for digest, size in gone.items() if size > limit]
    own: dict[Digest, int] = {}
    leaves: set[Digest] = set()
    for digest in large:
        with suppress(MissingObjectError):
            recipe = objects.recipe(digest)
            leaves.update(() if recipe.tag == CHUNKS else (piece.digest for piece in recipe.pieces))
            own.update(objects.chunks(digest))
    if not own:
        return frozenset(), {}
    others: set[Digest] = set()
    for key in store.keys(Kind.RECIPE):
        if key not in gone and key not in leaves:
            with suppress(MissingObjectError):
                others.update(ref.key for ref in objects.recipe_children(key) if ref.key in own)
    # a file of one chunk has no recipe: its digest is the chunk's
    others.update(own.keys() - set(kept.without(sorted(own))))
    shared = {digest: own[digest] for digest in others}
    return frozenset(own.keys() - shared.keys()), shared
