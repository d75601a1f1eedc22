"""The file `committed`: which transactions were acknowledged, kept apart from LMDB.

LMDB's meta pages carry no checksum: a flipped bit can make it open, silently, at the commit before the last. The
number of every committed transaction is therefore noted here, in one of 4,096 slots, before anybody is told of it;
a noted number above LMDB's last means that LMDB went back (DESIGN 4.3). One more slot notes up to which record the
journal is known to be on disk.
"""

from __future__ import annotations

import os
import struct
from typing import Final

from jvs.castore.digest import check_digest
from jvs.castore.local.descriptors import Descriptor
from jvs.errors import IndexDamagedError

SLOTS: Final = 4096
_SLOT: Final = struct.Struct(">Q8s")
_ALL: Final = struct.Struct(f">{2 * SLOTS}Q")
_SYNCED_AT: Final = SLOTS * _SLOT.size
SIZE: Final = _SYNCED_AT + _SLOT.size


def _check(place: int, number: int) -> bytes:
    return check_digest(b"committed" + struct.pack(">QQ", place, number))[:8]


class CommittedFile:
    """The file, open. Methods raise OSError."""

    def __init__(self, path: str, *, readonly: bool) -> None:
        self._file = Descriptor(path, os.O_RDONLY if readonly else os.O_RDWR | os.O_CREAT)

    def note(self, txn_id: int) -> None:
        """Note a committed transaction: one write, not synced."""
        place = txn_id % SLOTS
        os.pwrite(self._file.fd, _SLOT.pack(txn_id, _check(place, txn_id)), place * _SLOT.size)

    def highest(self) -> int:
        """The highest number soundly noted; 0 when there is none."""
        raw = os.pread(self._file.fd, _SYNCED_AT, 0).ljust(_SYNCED_AT, b"\0")
        numbers: list[int] = list(_ALL.unpack(raw)[::2])
        while number := max(numbers):
            place = numbers.index(number)
            if raw[place * _SLOT.size + 8 : (place + 1) * _SLOT.size] == _check(place, number):
                break
            numbers[place] = 0
        return number

    def note_synced(self, seq: int) -> None:
        """Note that every journal record below `seq` is on disk."""
        os.pwrite(self._file.fd, _SLOT.pack(seq, _check(SLOTS, seq)), _SYNCED_AT)

    def synced(self) -> int:
        """The number below which every journal record is known to be on disk."""
        raw = os.pread(self._file.fd, _SLOT.size, _SYNCED_AT)
        if len(raw) < _SLOT.size:
            return 0
        seq, check = _SLOT.unpack(raw)
        return int(seq) if check == _check(SLOTS, seq) else 0

    def damaged_slots(self) -> list[int]:
        """Slots that hold something that was never written (the last number stands for the journal's slot)."""
        raw = os.pread(self._file.fd, SIZE, 0)
        found = []
        for place in range(len(raw) // _SLOT.size):
            number, check = _SLOT.unpack_from(raw, place * _SLOT.size)
            if (number or check != bytes(8)) and check != _check(place, number):
                found.append(place)
        return found

    def clear(self, place: int) -> None:
        """Note nothing in a slot."""
        os.pwrite(self._file.fd, bytes(_SLOT.size), place * _SLOT.size)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def rolled_back(reason: str) -> IndexDamagedError:
    """The error for an index that opens at an older commit than the one it was left at."""
    return IndexDamagedError(f"the index went back in time: {reason}", code="index-rolled-back")


def check_not_rolled_back(noted: int, last: int) -> None:
    """Raises IndexDamagedError (index-rolled-back) when a transaction above `last`, LMDB's last, was noted.

    `noted` must have been read before `last` was.
    """
    if noted > last:
        raise rolled_back(f"transaction {noted} was acknowledged and the index ends with {last}")
