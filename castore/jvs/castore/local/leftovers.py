"""What lies about in a store and belongs to nobody any more: of use to nobody, in nobody's way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from jvs.castore.local import quarantine
from jvs.castore.local.descriptors import Descriptor
from jvs.castore.local.pack import pack_of, pack_path
from jvs.castore.local.verify import Finding

if TYPE_CHECKING:
    from jvs.castore.local.store import LocalStore


def leftovers(store: LocalStore) -> Iterator[Finding]:
    """Everything that an interrupted process, or a repair, left behind, in one line each. Changes nothing."""
    yield from _stray_packs(store)
    dead = dead_locks(store)
    if dead:
        yield Finding("locks", None, "locks", f"of processes that are gone: {len(dead)}")
    for name in sorted(os.listdir(store.path)):
        if name.startswith("index.old-"):
            yield Finding("leftover", None, name, "an index that a rebuild put aside; nothing reads it")
        elif name in ("index.new", "committed.new"):
            yield Finding("leftover", None, name, "of a rebuild that was interrupted; the next one removes it")
    kept = quarantine.listed(store)
    if kept:
        size = sum(size for _, size in kept)
        yield Finding("quarantine", None, quarantine.FOLDER, f"set aside by repairs: {len(kept):,} ({size:,} bytes)")
    temporary = sum(name.endswith(".tmp") for name in _names(os.path.join(store.cache_path, "directories")))
    if temporary:
        yield Finding("leftover", None, "cache/directories", f"temporary files: {temporary}; cache may be deleted")
    plans = _names(os.path.join(store.path, "gc"))
    alone = {name.partition(".")[0] for name in plans} - {n.removesuffix(".json") for n in plans if n.endswith(".json")}
    if alone:
        yield Finding("leftover", None, "gc", f"unfinished plans of collections: {len(alone)}")


def dead_locks(store: LocalStore) -> list[str]:
    """Names of the lock files whose holders are gone."""
    folder = os.path.join(store.path, "locks")
    return [name for name in _names(folder) if _is_free(os.path.join(folder, name))]


def is_held(store: LocalStore, lock: str) -> bool:
    """Whether somebody holds the lock of that name. Unlike taking it, this changes nothing."""
    path = os.path.join(store.path, "locks", lock)
    return os.path.exists(path) and not _is_free(path)


def _stray_packs(store: LocalStore) -> Iterator[Finding]:
    """Pack files that the index does not know, unless somebody is just making one."""
    names = _names(store.packs_path)
    with store.read() as txn:
        known = {pack for pack, _ in txn.packs()}
    for name in names:
        pack = pack_of(name)
        if pack is None:
            yield Finding("leftover", None, os.path.join("packs", name), "not a pack")
        elif pack not in known and _is_free(os.path.join(store.packs_path, name)):
            with store.read() as txn:
                stray = txn.pack_row(pack) is None
            if stray and os.path.exists(os.path.join(store.packs_path, name)):
                yield Finding("stray", None, pack_path("packs", pack), "the index knows nothing of it; gc removes it")


def _is_free(path: str) -> bool:
    """Whether there is such a file and nobody holds a lock on it."""
    try:
        file = Descriptor(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        return file.lock(shared=True, wait=False)
    finally:
        file.close()


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
