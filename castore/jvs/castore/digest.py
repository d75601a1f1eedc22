"""Digests: BLAKE3-256, with one derive-key context for each kind of structured record.

A file's digest is plain BLAKE3 of its bytes (what `b3sum` prints). Everything structured has a context of its own,
so that no file can be mistaken for a manifest, nor one kind of record for another (DESIGN 4.1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from blake3 import blake3

from jvs.errors import UsageError

Digest: TypeAlias = bytes
"""32 raw bytes."""

DIGEST_SIZE = 32
EMPTY_DIGEST: Digest = blake3(b"").digest()
"""Digest of the empty file."""

MIN_PREFIX = 8
"""Fewest hex digits accepted as an abbreviated id."""


def file_digest(data: bytes | bytearray | memoryview) -> Digest:
    """Digest of a whole file or chunk given as bytes."""
    return blake3(data).digest()


def keyed(context: str) -> Callable[[bytes | bytearray | memoryview], Digest]:
    """Return a function that digests bytes under `context` (BLAKE3 derive-key mode)."""
    template = blake3(derive_key_context=context)

    def digest(data: bytes | bytearray | memoryview) -> Digest:
        hasher = template.copy()
        hasher.update(data)
        return hasher.digest()

    return digest


page_digest = keyed("jvs 2026-11 manifest page v1")
part_digest = keyed("jvs 2026-11 part v1")
recipe_digest = keyed("jvs 2026-11 recipe leaf v1")
layout_checksum = keyed("jvs 2026-11 layout v1")
entry_digest = keyed("jvs 2026-11 reflog entry v1")
body_digest = keyed("jvs 2026-11 reflog body v1")
journal_digest = keyed("jvs 2026-11 journal record v1")
check_digest = keyed("jvs 2026-11 index checksum v1")
pack_checksum = keyed("jvs 2026-11 pack record v1")
nonce_digest = keyed("jvs 2026-11 lock nonce v1")


def to_hex(digest: Digest) -> str:
    """64 lower-case hex digits."""
    return digest.hex()


def parse_digest(text: str) -> Digest:
    """The digest written as exactly 64 lower-case hex digits; raises UsageError (bad-id) otherwise."""
    if len(text) == 64 and is_hex(text):
        return bytes.fromhex(text)
    raise UsageError(f"not an id: {text[:80]!r} (64 lower-case hex digits expected)", code="bad-id")


def is_hex(text: str) -> bool:
    """Whether `text` is one or more lower-case hex digits (the only spelling of ids)."""
    return bool(text) and not text.strip("0123456789abcdef")
