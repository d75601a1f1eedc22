"""Reading a pack from end to end without an index, also when some of it is damaged."""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from jvs.castore.local.pack import (
    HEADER,
    MAGIC,
    PACK_HEADER,
    Record,
    data_is_sound,
    decode_header,
    pack_header,
)

_WINDOW: Final = 1 << 20


class Found(NamedTuple):
    """A sound record: where it begins, and its header."""

    offset: int
    record: Record


def scan_pack(fd: int, pack: bytes) -> tuple[list[Found], bool]:
    """Every sound record of an open pack, in order, and whether the pack consists of nothing else. Raises OSError."""
    size = os.fstat(fd).st_size
    found: list[Found] = []
    regular = size == 0 or os.pread(fd, PACK_HEADER, 0) == pack_header(pack)
    at = PACK_HEADER
    while at < size:
        record = decode_header(os.pread(fd, HEADER, at))
        if record is not None and data_is_sound(record, os.pread(fd, record.stored, at + HEADER)):
            found.append(Found(at, record))
            at += HEADER + record.stored
        else:
            regular = False
            at = next_magic(fd, at + 1, size)
    return found, regular


def next_magic(fd: int, at: int, size: int) -> int:
    """Where the next thing that looks like a record begins, at `at` or later; `size` when nothing does."""
    while at < size:
        window = os.pread(fd, _WINDOW, at)
        place = window.find(MAGIC)
        if place >= 0:
            return at + place
        at += max(len(window) - len(MAGIC) + 1, 1)
    return size
