"""The rules by which packs are given back, each with a way to take it out of the real code (see `mutations`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final
from unittest import mock

from jvs.castore.backend import Kind, Stored
from jvs.castore.digest import Digest
from jvs.castore.local import reclaim
from jvs.castore.local.pack import pack_path
from jvs.castore.local.store import LocalStore
from jvs.castore.local.tables import ObjectRow, PackRow
from jvs.castore.local.txn import LocalWriteTxn
from jvs.castore.local.writer import LocalWriter
from jvs.errors import IntegrityError, MissingObjectError
from tests.gc import histories
from tests.gc.local import SteppedDescriptor
from tests.gc.mutations import Mutation
from tests.gc.scenarios import OLD, OVERLAP, Collector, Reader, Scenario
from tests.gc.scheduler import Act

_move = LocalWriter.move
_publish = LocalWriter.publish
_make_durable = LocalWriter._make_durable


def _nothing(*_: Any) -> None:
    return None


def _move_first(self: LocalWriter, moves: Sequence[Any]) -> int:
    with mock.patch.object(LocalWriter, "_make_durable", _nothing):
        moved = _move(self, moves)
    _make_durable(self)
    return moved


def _publish_first(self: LocalWriter, then: Any = None) -> Any:
    with mock.patch.object(LocalWriter, "_make_durable", _nothing):
        result = _publish(self, then)
    _make_durable(self)
    return result


def _drop_first(store: Any, writer: Any, packs: list[bytes], step: Any) -> Any:
    """Drop the packs, then let the index point to the copies."""
    later: list[Any] = []

    def remember(self: LocalWriter, moves: Sequence[Any]) -> int:
        later.extend(moves)
        return len(moves)

    with mock.patch.object(LocalWriter, "move", remember), mock.patch.object(LocalWriteTxn, "drop_pack", _drop_any):
        result = _rewrite(store, writer, packs, step)
    _move(writer, later)
    return result


_rewrite = reclaim._rewrite


def _drop_any(self: LocalWriteTxn, pack: bytes) -> bool:
    row = self._packs.get(pack) or self.pack_row(pack)
    if row is None:
        return False
    row.state = PackRow.DROPPED
    self._packs[pack] = row
    return True


def _unlink_first(store: Any, pack: bytes, file: Any) -> Any:
    with store.read() as txn:
        row = txn.pack_row(pack)
    if row is not None and not row.live_bytes and os.fstat(file.fd).st_nlink:
        os.unlink(pack_path(store.packs_path, pack))
        store.watch.step("unlinked")
    return _drop(store, pack, file)


_drop = reclaim._drop


def _get_once(self: LocalStore, kind: Kind, key: Digest) -> Stored:
    self.watch.step("get")  # type: ignore[attr-defined]
    with self.read() as txn:
        value = txn.object_value(bytes((kind,)) + key)
    if value is None:
        raise MissingObjectError("gone", kind=kind.name.lower(), digest=key.hex())
    row = ObjectRow(value)
    try:
        return self._packs.read(kind, key, row.pack, row.offset, row.stored)
    except FileNotFoundError as error:
        raise IntegrityError("lost") from error


_lock = SteppedDescriptor.lock


def _lock_no_pack(self: SteppedDescriptor, *, shared: bool = False, wait: bool = True) -> bool:
    return self.path.endswith(".pack") or _lock(self, shared=shared, wait=wait)


REWRITTEN: Final = Scenario(
    "a pack that is rewritten",
    (Reader("R", "old", OVERLAP), Collector("gc1"), Collector("gc2")),
    {"old": OVERLAP},
    garbage=(OLD,),
    steps=150,
)


def rewritten_while_read(_: Any) -> Sequence[Act]:
    """The pack in which R has looked something up is rewritten before R opens it."""
    return (Act("R", "open"), Act("R", 1), Act("R", "open"), Act("gc1"), Act("R"))


def died_at_unlink(_: Any) -> Sequence[Act]:
    """gc1 dies when it has unlinked an empty pack, which nobody was told of."""
    return (Act("del"), Act("gc1", "unlinked", crash=True), Act("B"))


MUTATIONS: Final = (
    Mutation("a copy is written out before the index points to it", [(LocalWriter, "move", _move_first)], REWRITTEN),
    Mutation(
        "what is published is written out before", [(LocalWriter, "publish", _publish_first)], histories.TWO_PUSHERS
    ),
    Mutation(
        "a pack is dropped after what lived in it was moved",
        [(reclaim, "_rewrite", _drop_first)],
        histories.TWO_PUSHERS,
    ),
    Mutation(
        "the transaction that drops a pack finds nothing in it",
        [(LocalWriteTxn, "drop_pack", _drop_any)],
        histories.TWO_PUSHERS,
    ),
    Mutation(
        "a pack is unlinked after the transaction that dropped it",
        [(reclaim, "_drop", _unlink_first)],
        histories.TWO_PUSHERS,
        died_at_unlink,
    ),
    Mutation(
        "a pack is given back by who holds its lock",
        [(SteppedDescriptor, "lock", _lock_no_pack)],
        histories.TWO_PUSHERS,
    ),
    Mutation(
        "a reader looks again as long as the place changes",
        [(LocalStore, "get", _get_once)],
        REWRITTEN,
        rewritten_while_read,
    ),
)
