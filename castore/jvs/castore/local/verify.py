"""Verification of a local store: everything that can be known to be wrong without understanding an object.

What objects mean (digests of their plain bytes, closure of the index, labels) is verified above the store.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from jvs.castore.backend import Kind
from jvs.castore.digest import Digest
from jvs.castore.local import env
from jvs.castore.local.pack import PACK_HEADER, pack_header, pack_path, record_length
from jvs.castore.local.store import LocalStore
from jvs.castore.local.tables import PackRow
from jvs.castore.local.txn import LocalReadTxn
from jvs.errors import IntegrityError


class Finding(NamedTuple):
    """Something wrong with a store.

    kind    "index", "object", "pack", "journal" or "committed"
    digest  the object concerned, if it is one
    path    the file concerned, relative to the store, if it is one
    reason  one line
    """

    kind: str
    digest: Digest | None
    path: str | None
    reason: str


def verify_store(store: LocalStore, *, objects: bool = True) -> Iterator[Finding]:
    """Everything wrong with the store: index, packs, journal, the file `committed`, and each object's record.

    objects  False leaves the records out, for a caller that reads every object anyway
    Runs beside writers. Raises nothing for damage; StoreError where it cannot look.
    """
    broken = list(_verify_index(store))
    yield from broken
    if broken:
        return  # to read on in this process could end it
    yield from _verify_packs(store)
    yield from _verify_journal(store)
    yield from _verify_committed(store)
    if objects:
        yield from _verify_objects(store)


def _verify_index(store: LocalStore) -> Iterator[Finding]:
    # While this transaction lasts LMDB reuses no page of what it sees or of what is committed later, so the child
    # looks at a tree that holds still. Only a commit in the very moment it begins can mislead it: it looks twice.
    with store.read():
        found = env.probe(store.index_path)
        if found:
            found = env.probe(store.index_path)
        for reason in found:
            yield Finding("index", None, "index/data.mdb", reason)


def _verify_packs(store: LocalStore) -> Iterator[Finding]:
    with store.read() as txn:
        rows = dict(txn.packs())
        live = _live_bytes(txn)
    for pack, row in rows.items():
        path = pack_path("packs", pack)
        try:
            with open(os.path.join(store.path, path), "rb") as file:
                head, size = file.read(PACK_HEADER), os.fstat(file.fileno()).st_size
        except OSError as exc:
            with store.read() as txn:
                now = txn.pack_row(pack)  # a collector may have dropped it meanwhile
            if now is not None and now.state != PackRow.DROPPED:
                yield Finding("pack", None, path, f"cannot be read: {exc.strerror}")
            continue
        if size < row.committed_end:
            yield Finding("pack", None, path, f"has {size} bytes of {row.committed_end}")
        if row.committed_end and head != pack_header(pack):
            yield Finding("pack", None, path, "does not begin as a pack does")
    for pack in rows.keys() | live.keys():
        recorded = rows[pack].live_bytes if pack in rows else None
        if recorded != live.get(pack, 0):
            reason = f"{live.get(pack, 0)} bytes are in use, its row says {recorded}"
            yield Finding("pack", None, pack_path("packs", pack), reason)


def _live_bytes(txn: LocalReadTxn) -> dict[bytes, int]:
    live: dict[bytes, int] = {}
    for kind in Kind:
        for _, row in txn.objects(kind):
            live[row.pack] = live.get(row.pack, 0) + record_length(row.stored)
    return live


def _verify_journal(store: LocalStore) -> Iterator[Finding]:
    with store.read() as txn:
        head = txn.journal_head()
    seq, digest = 0, None
    try:
        for record in store.journal_records():
            if record.seq < head.end.seq:
                seq, digest = record.seq + 1, record.digest
    except IntegrityError as exc:
        yield Finding("journal", None, "journal", exc.message)
        return
    if seq != head.end.seq or (digest is not None and digest != head.end.digest):
        yield Finding("journal", None, "journal", "it does not end as the index says")


def _verify_committed(store: LocalStore) -> Iterator[Finding]:
    for place in store.damaged_slots():
        yield Finding("committed", None, "committed", f"slot {place} holds what was never written")


def _verify_objects(store: LocalStore) -> Iterator[Finding]:
    for kind in Kind:
        for info in store.list(kind):
            try:
                found = store.get(kind, info.key)
                if (found.size, len(found.data)) != (info.size, info.stored):
                    yield Finding("object", info.key, None, "its record and its row in the index differ")
            except IntegrityError as exc:
                path = (
                    pack_path("packs", bytes.fromhex(exc.details["pack"])) if "pack" in exc.details else None
                )
                yield Finding("object", info.key, path, exc.message)
