"""zstd, bounded: compress where it helps, never decompress more than was announced and allowed.

python-zstandard ignores `max_output_size` when a frame declares its content size (32 KB became 1 GiB, DESIGN 4.3), so
the declared size is compared with the expected one before anything is allocated.
"""

from __future__ import annotations

import threading

import zstandard

from jvs.castore.backend import Codec, Kind, Stored
from jvs.errors import IntegrityError

MAX_SIZE: dict[Kind, int] = {
    Kind.CHUNK: 16 << 20,
    Kind.RECIPE: 8 << 20,
    Kind.PAGE: 32 << 20,
    Kind.LAYOUT: 8 << 20,
    Kind.PART: 8 << 20,
}
"""Largest plain size of each kind that any reader accepts, in bytes."""

PROBE = 64 << 10
"""Bytes at the start of a large object that are compressed first, to find out whether the rest is worth it."""

_local = threading.local()


def encode(data: bytes | memoryview, level: int, *, dense: bool = False) -> Stored:
    """Compress at zstd `level` (0: not at all); stored raw where that does not save at least 1/32. dense: for chunks,
    which have more time than small files have, and more to gain.

    Of an object over 4 * PROBE only a probe is compressed first: incompressible data (media, encrypted files) then
    costs a sixteenth of a full attempt. Thread-safe: one compressor per thread and level.
    """
    size = len(data)
    if not level:
        return Stored(Codec.RAW, size, bytes(data))
    if size > 4 * PROBE and len(_compressor(level, dense).compress(data[:PROBE])) > PROBE * 31 // 32:
        # the middle is asked too: a compressible body behind an incompressible head is common (archives, thumbnails)
        middle = size // 2
        if len(_compressor(level, dense).compress(data[middle : middle + PROBE])) > PROBE * 31 // 32:
            return Stored(Codec.RAW, size, bytes(data))
    packed = _compressor(level, dense).compress(data)
    if len(packed) > size * 31 // 32:
        return Stored(Codec.RAW, size, bytes(data))
    return Stored(Codec.ZSTD, size, packed)


def decode(kind: Kind, stored: Stored) -> bytes:
    """The plain bytes of `stored`; raises IntegrityError when they are not exactly what it announces."""
    size = stored.size
    if not 0 <= size <= MAX_SIZE[kind]:
        raise IntegrityError(f"a {kind.name.lower()} of {size} bytes is not what the format allows")
    if stored.codec == Codec.RAW:
        if len(stored.data) != size:
            raise IntegrityError(f"a {kind.name.lower()} has {len(stored.data)} bytes and announces {size}")
        return stored.data
    if stored.codec != Codec.ZSTD:
        raise IntegrityError(f"a {kind.name.lower()} is encoded in an unknown way ({stored.codec})")
    try:
        if zstandard.frame_content_size(stored.data) != size:
            raise IntegrityError(f"a {kind.name.lower()}'s zstd frame does not announce {size} bytes")
        plain: bytes = _decompressor().decompress(stored.data, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise IntegrityError(f"a {kind.name.lower()} does not decompress: {error}") from error
    if len(plain) != size:
        raise IntegrityError(f"a {kind.name.lower()} decompresses to {len(plain)} bytes, not {size}")
    return plain


def _compressor(level: int, dense: bool) -> zstandard.ZstdCompressor:
    cache: dict[tuple[int, bool], zstandard.ZstdCompressor] | None = getattr(_local, "compressors", None)
    if cache is None:
        cache = _local.compressors = {}
    compressor = cache.get((level, dense))
    if compressor is None:
        if level == 1:
            compressor = zstandard.ZstdCompressor(compression_params=_level_one(dense))
        else:
            compressor = zstandard.ZstdCompressor(level=level, write_content_size=True, write_checksum=False)
        cache[level, dense] = compressor
    return compressor


def _level_one(dense: bool) -> zstandard.ZstdCompressionParameters:
    """What level 1 means here, measured on generated source code and text (docs/decisions.md).

    Parts and pages: zstd's level 1 with twice the hash table (422 MB/s and 31.8 %; plain: 384 MB/s and 32.3 %). Chunks
    (dense): the double-fast strategy with small tables (313 MB/s and 29.8 %; plain level 1: 402 MB/s and 35.4 %).
    """
    return zstandard.ZstdCompressionParameters(
        window_log=21 if dense else 18,
        chain_log=15 if dense else 13,
        hash_log=16 if dense else 15,
        search_log=1,
        min_match=5 if dense else 6,
        target_length=0,
        strategy=zstandard.STRATEGY_DFAST if dense else zstandard.STRATEGY_FAST,
        write_content_size=True,
    )


def _decompressor() -> zstandard.ZstdDecompressor:
    if not hasattr(_local, "decompressor"):
        _local.decompressor = zstandard.ZstdDecompressor()
    decompressor: zstandard.ZstdDecompressor = _local.decompressor
    return decompressor
