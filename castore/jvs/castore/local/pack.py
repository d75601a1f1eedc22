"""Pack files: append-only sequences of self-describing records (docs/format.md).

A pack begins with `jvspack1`, its id and a checksum; records follow without gaps. A record is a header (magic, kind,
codec, flags, plain and stored length, sequence number, key, checksum of the data, checksum of the header) and the
data. Flag bit 0 is reserved for records that are deltas against a base, whose key would follow the header; this
version refuses flags. The sequence number is that of a layout (the newer of two layouts of one page has the higher
one); 0 for every other kind.
"""

from __future__ import annotations

import os
import struct
import threading
from collections import OrderedDict
from typing import Final, NamedTuple

from jvs.castore.backend import Codec, Kind, Stored
from jvs.castore.digest import Digest, pack_checksum
from jvs.castore.local.descriptors import Descriptor
from jvs.errors import IntegrityError

MAGIC: Final = b"jvsR"
_FIELDS: Final = struct.Struct(">4sBBHIII32s16s")
_DATA_CHECK: Final = 16
_HEADER_CHECK: Final = 8
HEADER: Final = _FIELDS.size + _HEADER_CHECK
ID_SIZE: Final = 16
_PACK_MAGIC: Final = b"jvspack1"
PACK_HEADER: Final = len(_PACK_MAGIC) + ID_SIZE + 8
SEAL_AT: Final = 64 << 20
MAX_STORED: Final = (1 << 32) - 1
FIRST_LAYOUT: Final = 1
"""Sequence number of a layout that is stored together with its page."""
_TWO_READS: Final = 32 << 10
"""Records longer than this are read header and data apart: cheaper than copying the data out of one read."""


_CODECS: Final = {codec.value: codec for codec in Codec}


class Record(NamedTuple):
    """What a record's header says. `check` covers the data."""

    kind: int
    key: Digest
    codec: int
    size: int
    stored: int
    seq: int
    check: bytes


def record_length(stored: int) -> int:
    """Bytes that an object of `stored` encoded bytes takes in a pack."""
    return HEADER + stored


def encode_header(kind: Kind, key: Digest, stored: Stored, seq: int = 0) -> bytes:
    """The header of an object's record; seq: of a layout, its sequence number."""
    check = pack_checksum(stored.data)[:_DATA_CHECK]
    fields = _FIELDS.pack(MAGIC, kind, stored.codec, 0, stored.size, len(stored.data), seq, key, check)
    return fields + pack_checksum(fields)[:_HEADER_CHECK]


def decode_header(raw: bytes) -> Record | None:
    """The header in `raw` (`HEADER` bytes), or None when it is not a sound one."""
    if len(raw) != HEADER or raw[_FIELDS.size :] != pack_checksum(raw[: _FIELDS.size])[:_HEADER_CHECK]:
        return None
    magic, kind, codec, flags, size, stored, seq, key, check = _FIELDS.unpack_from(raw)
    return (
        None
        if magic != MAGIC or flags or codec not in _CODECS
        else Record(kind, key, codec, size, stored, seq, check)
    )


def data_is_sound(record: Record, data: bytes) -> bool:
    """Whether `data` is what the record's header was written for."""
    return len(data) == record.stored and pack_checksum(data)[:_DATA_CHECK] == record.check


def pack_header(pack: bytes) -> bytes:
    """The first bytes of a pack."""
    head = _PACK_MAGIC + pack
    return head + pack_checksum(head)[:8]


class PackReader:
    """Reads records; keeps a bounded number of packs open. Thread-safe."""

    MAX_OPEN: Final = 128

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._files: OrderedDict[bytes, Descriptor] = OrderedDict()
        self._lock = threading.Lock()

    def _file(self, pack: bytes) -> Descriptor:
        with self._lock:
            file = self._files.get(pack)
            if file is None:
                file = self._files[pack] = Descriptor(pack_path(self._directory, pack), os.O_RDONLY)
                if len(self._files) > self.MAX_OPEN:
                    # Another thread may be reading it: it is closed when nobody refers to it.
                    self._files.popitem(last=False)
            else:
                self._files.move_to_end(pack)
            return file

    def read(
        self, kind: Kind, key: Digest, pack: bytes, offset: int, stored: int, *, check: bool = True
    ) -> Stored:
        """The object at that place; check: compare its bytes with their checksum even if they are the content itself.
        Raises IntegrityError naming kind, digest, pack and offset; OSError."""
        file = self._file(pack)
        if stored > _TWO_READS:
            header, data = os.pread(file.fd, HEADER, offset), os.pread(file.fd, stored, offset + HEADER)
        else:
            raw = os.pread(file.fd, HEADER + stored, offset)
            header, data = raw[:HEADER], raw[HEADER:]
        record = decode_header(header)
        if record is None:
            raise _damaged(kind, key, pack, offset, "its record has no sound header")
        if record.kind != kind or record.key != key:
            raise _damaged(kind, key, pack, offset, "another object lies where the index says")
        looked_at = check or record.codec != Codec.RAW
        if record.stored != stored or len(data) != stored or (looked_at and not data_is_sound(record, data)):
            raise _damaged(kind, key, pack, offset, "its bytes fail their checksum")
        return Stored(_CODECS[record.codec], record.size, data)

    def forget(self, pack: bytes) -> None:
        """Close a pack that is gone, so that its space is free."""
        with self._lock:
            self._files.pop(pack, None)  # closed when nobody reads it any more

    def close(self) -> None:
        """Close every pack."""
        with self._lock:
            for file in self._files.values():
                file.close()
            self._files.clear()

    def __enter__(self) -> PackReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def pack_path(directory: str, pack: bytes) -> str:
    """The file of a pack."""
    return os.path.join(directory, pack.hex() + ".pack")


def pack_of(name: str) -> bytes | None:
    """The pack whose file has that name, or None when it is no pack's."""
    try:
        pack = bytes.fromhex(name.removesuffix(".pack"))
    except ValueError:
        return None
    return pack if len(pack) == ID_SIZE and name == pack.hex() + ".pack" else None


def _damaged(kind: Kind, key: Digest, pack: bytes, offset: int, reason: str) -> IntegrityError:
    return IntegrityError(
        f"{kind.name.lower()} {key.hex()} is damaged: {reason} (pack {pack.hex()}, byte {offset})",
        kind=kind.name.lower(),
        digest=key.hex(),
        pack=pack.hex(),
        offset=offset,
        reason=reason,
    )
