"""`fs stats --exclusive`: what would dropping this free?"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from jvs.castore.backend import Kind, object_name
from jvs.castore.digest import Digest
from jvs.castore.gc.mark import Mark
from jvs.castore.gc.nameset import Budget
from jvs.castore.gc.pins import live_pins
from jvs.errors import MissingObjectError
from jvs.labels.roots import roots
from jvs.labels.store import wall_clock
from jvs.workspace.gc_results import Exclusive

if TYPE_CHECKING:
    from jvs.workspace.repo import Repo

_TRIES = 5
_BATCH = 1024


def exclusive(repo: Repo, name: str) -> Exclusive:
    """What only a label (all that it protects: its head, its history, what it was merged with), or only the snapshot
    that a revision means, keeps from the next gc. O(pages of everything that is protected)."""
    label = repo.list_label(name)
    snapshot = None if label is not None else repo.snapshot_of(repo.resolve(name))
    for left in reversed(range(_TRIES)):
        try:
            return _exclusive(repo, name, snapshot)
        except MissingObjectError:  # a collector may have taken what was a root when we read the roots
            if not left:
                raise
    raise AssertionError


def _exclusive(repo: Repo, name: str, snapshot: Digest | None) -> Exclusive:
    budget = Budget(None)
    own, others = budget.set(33), budget.set(33)
    with repo.store.read() as txn:
        for root in roots(txn, wall_clock()):
            is_own = root.label == name if snapshot is None else root.ca_id == snapshot
            if is_own or not root.leaving:
                (own if is_own else others).update((object_name(Kind.PAGE, root.ca_id),))
        if not repo.store.readonly:
            others.update(pinned for _, pinned in live_pins(txn, repo.store.locks))
    if snapshot is not None:
        own.update((object_name(Kind.PAGE, snapshot),))
    mine, theirs = _reach(repo, own, budget), _reach(repo, others, budget)
    objects = size = stored = 0
    for kind, height, names in mine.reached:
        only = theirs.reached.of(kind, height).without(names)
        while batch := list(islice(only, _BATCH)):
            for info in repo.store.infos(kind, batch):
                if info is not None:
                    objects += 1
                    size += info.size
                    stored += info.stored
    kind_of = "label" if snapshot is None else "snapshot"
    return Exclusive(name, kind_of, sum(1 for _ in own), objects, size, stored)


def _reach(repo: Repo, names: Iterable[bytes], budget: Budget) -> Mark:
    mark = Mark(repo.store, budget)
    mark.add(names)
    mark.run(lambda _: None)
    return mark
