"""The folder `quarantine`: what a repair took out of use, kept byte for byte, for people who know more.

Nothing reads it but they, and nothing in it is ever overwritten or removed here. A damaged record is one file, named
after the object that the index says it is.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import zstandard

from jvs.castore.backend import Codec, ref_of
from jvs.castore.local.descriptors import Descriptor, sync_data, sync_directory
from jvs.castore.local.failures import os_error
from jvs.castore.local.pack import HEADER, pack_path, record_length
from jvs.castore.local.tables import ObjectRow

if TYPE_CHECKING:
    from jvs.castore.local.store import LocalStore

FOLDER: Final = "quarantine"
_BLOCK: Final = 4096
_SLIVER: Final = 1 << 10


def record_at(store: LocalStore, row: ObjectRow) -> bytes:
    """The bytes where the index says that an object's record is, as far as there are any that can be read."""
    return read_range(pack_path(store.packs_path, row.pack), row.offset, record_length(row.stored))


def salvage(store: LocalStore, row: ObjectRow, most: int) -> bytes:
    """As much of a damaged object as still decodes, at most `most` bytes; any of it may be wrong."""
    data, limit = record_at(store, row)[HEADER:], min(row.size, most)
    if row.codec == Codec.RAW:
        return data[:limit]
    out: list[bytes] = []
    size = 0
    decoder = zstandard.ZstdDecompressor().decompressobj()
    try:
        for at in range(0, len(data), _SLIVER):
            out.append(decoder.decompress(data[at : at + _SLIVER]))
            size += len(out[-1])
            if size >= limit or decoder.eof:
                break
    except zstandard.ZstdError:
        pass  # what came before it
    return b"".join(out)[:limit]


def read_range(path: str, start: int, length: int) -> bytes:
    """Bytes of a file, zeros for blocks that the disk does not give; shorter where the file ends, or is gone."""
    try:
        file = Descriptor(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        length = max(min(length, os.fstat(file.fd).st_size - start), 0)
        try:
            return os.pread(file.fd, length, start)
        except OSError:
            return b"".join(
                _read_block(file.fd, at, min(_BLOCK - at % _BLOCK, start + length - at))
                for at in _block_starts(start, start + length)
            )
    finally:
        file.close()


def _block_starts(start: int, stop: int) -> list[int]:
    first = start - start % _BLOCK + _BLOCK
    return [start, *range(first, stop, _BLOCK)] if start < stop else []


def _read_block(fd: int, at: int, length: int) -> bytes:
    try:
        return os.pread(fd, length, at)
    except OSError:
        return bytes(length)


def set_aside(store: LocalStore, name: bytes, raw: bytes) -> str:
    """Keep the bytes of a damaged record durably; the file, relative to the store. See `keep`."""
    kind, key = ref_of(name)
    return keep(store, f"{kind.name.lower()}-{key.hex()}", raw)


def keep(store: LocalStore, title: str, raw: bytes) -> str:
    """Keep bytes under a title durably; the same ones once, others under the title and a number. Raises JvsError."""
    folder = os.path.join(store.path, FOLDER)
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        number = 1
        while True:
            file = title if number == 1 else f"{title}.{number}"
            if _write(folder, file, raw):
                return os.path.join(FOLDER, file)
            number += 1
    except OSError as exc:
        raise os_error(exc, f"setting {title} aside") from exc


def _write(folder: str, name: str, raw: bytes) -> bool:
    """Whether the file has these bytes now; False when it has others. Made by a link, so never in part."""
    path, temp = os.path.join(folder, name), os.path.join(folder, f".{os.urandom(8).hex()}.tmp")
    fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(raw)
            file.flush()
            sync_data(file.fileno())
        try:
            os.link(temp, path, follow_symlinks=False)
        except FileExistsError:
            with open(path, "rb") as other:
                return other.read(len(raw) + 1) == raw
        return True
    finally:
        os.unlink(temp)
        sync_directory(folder)


def listed(store: LocalStore) -> list[tuple[str, int]]:
    """(name, size) of everything that was set aside."""
    folder = os.path.join(store.path, FOLDER)
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    return [(name, os.lstat(os.path.join(folder, name)).st_size) for name in names]
