"""Walking every row of the index: checksums, and the sums of each table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import lmdb

from jvs.castore.local.failures import lmdb_error
from jvs.castore.local.tables import CHECK, OBJECT_PREFIX, SUM, SUMS, WITHOUT_SUMS, prefix_of, unseal
from jvs.errors import IndexDamagedError


class Damage(NamedTuple):
    """Something wrong with the index: the table, the key within it (None: the table as a whole), and what."""

    table: str
    key: bytes | None
    reason: str


def walk_index(txn: lmdb.Transaction[bytes], *, without_objects: bool = False) -> Iterator[Damage]:
    """Everything wrong with rows and sums, in one pass. Raises IndexDamagedError where LMDB cannot go on."""
    found: dict[bytes, tuple[int, int]] = {}
    recorded: dict[bytes, tuple[int, int]] = {}
    try:
        cursor = txn.cursor()
        if cursor.first():
            for key, raw in cursor.iternext():
                if without_objects and key.startswith(OBJECT_PREFIX):
                    break
                yield from _row(key, raw, found, recorded)
        if without_objects and cursor.set_range(OBJECT_PREFIX[:-1] + b"\1"):
            for key, raw in cursor.iternext():
                yield from _row(key, raw, found, recorded)
    except lmdb.Error as exc:
        raise lmdb_error(exc) from exc
    for table in WITHOUT_SUMS:
        found.pop(table, None)
    if without_objects:
        recorded.pop(OBJECT_PREFIX[:-1], None)
    for table in sorted(found.keys() | recorded.keys()):
        rows, written = found.get(table, (0, 0)), recorded.get(table, (0, 0))
        if rows != written:
            reason = (
                f"{rows[0]} row(s) where {written[0]} were written"
                if rows[0] != written[0]
                else "rows differ"
            )
            yield Damage(table.decode("ascii", "replace"), None, reason)


def _row(
    key: bytes, raw: bytes, found: dict[bytes, tuple[int, int]], recorded: dict[bytes, tuple[int, int]]
) -> Iterator[Damage]:
    table, _, rest = key.partition(b"\0")
    try:
        value = unseal(key, raw)
    except IndexDamagedError:
        yield Damage(table.decode("ascii", "replace"), rest, "a row fails its checksum")
        return
    count, mixed = found.get(table, (0, 0))
    found[table] = count + 1, mixed ^ int.from_bytes(raw[:CHECK], "big")
    if key.startswith(prefix_of(SUMS)):
        rows, total = SUM.unpack(value)
        recorded[rest] = rows, total
