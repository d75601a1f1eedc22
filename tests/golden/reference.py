"""The id of a tree, computed from docs/manifests.md alone: no msgpack and nothing of jvs, so that a mistake in jvs is
not made here as well. Slow, and only as much as naming needs."""

from __future__ import annotations

from blake3 import blake3

from tests.golden.tree import Node

Totals = tuple[bytes, int, int]
"""(digest of a page, entries below, bytes below)."""


def number(value: int) -> bytes:
    """The shortest msgpack encoding of a number >= 0."""
    if value < 0x80:
        return bytes([value])
    for prefix, size in ((0xCC, 1), (0xCD, 2), (0xCE, 4), (0xCF, 8)):
        if value < 1 << 8 * size:
            return bytes([prefix]) + value.to_bytes(size, "big")
    raise ValueError(value)


def binary(value: bytes) -> bytes:
    """The shortest msgpack encoding of a byte string."""
    for prefix, size in ((0xC4, 1), (0xC5, 2)):
        if len(value) < 1 << 8 * size:
            return bytes([prefix]) + len(value).to_bytes(size, "big") + value
    raise ValueError(len(value))


def array(items: list[bytes]) -> bytes:
    """The shortest msgpack encoding of an array of encoded items."""
    if len(items) < 16:
        return bytes([0x90 | len(items)]) + b"".join(items)
    return b"\xdc" + len(items).to_bytes(2, "big") + b"".join(items)


def page_digest(data: bytes) -> bytes:
    """The digest of a page."""
    return blake3(data, derive_key_context="jvs 2026-11 manifest page v1").digest()


def boundary(name: bytes, level: int) -> bool:
    """Whether a page of `level` may end after `name`."""
    return int.from_bytes(blake3(name).digest()[:8], "little") >> 7 * level & 127 == 0


def cut(names: list[bytes], level: int) -> list[int]:
    """How many rows each page of a level has."""
    if level and len(names) <= 256:
        return [len(names)]
    runs, length = [], 0
    for name in names:
        length += 1
        if length == 4096 or (length >= (32 if level else 1) and boundary(name, level)):
            runs.append(length)
            length = 0
    return [*runs, length] if length else runs


def directory(rows: list[tuple[bytes, bytes, int, int]]) -> Totals:
    """The root page of a directory. rows: (name, encoded entry, entries, bytes), sorted by name."""
    if len(rows) <= 256:
        data = array([number(0), array([row[1] for row in rows])])
        return page_digest(data), sum(row[2] for row in rows), sum(row[3] for row in rows)
    level, own = 0, [1] * len(rows)
    while level < 2 or len(rows) > 1:
        above, owned = [], []
        for length in cut([row[0] for row in rows], level):
            here, rows = rows[:length], rows[length:]
            mine, own = sum(own[:length]), own[length:]
            head = [number(1)] if not level else [number(2), number(level)]
            digest = page_digest(array([*head, array([row[1] for row in here])]))
            entries, size, last = sum(row[2] for row in here), sum(row[3] for row in here), here[-1][0]
            encoded = array([binary(last), binary(digest), number(mine), number(entries), number(size)])
            above.append((last, encoded, entries, size))
            owned.append(mine)
        rows, own = above, owned
        level += 1
    return digest, entries, size


def tree_id(tree: dict[bytes, Node], at: bytes = b"") -> Totals:
    """The digest and totals of the directory at `at` of a tree (its root: the CA id)."""
    rows = []
    for path, node in tree.items():
        parent, _, name = path.rpartition(b"/")
        if parent != at:
            continue
        if isinstance(node, bytes):
            rows.append((name, array([binary(name), number(2), binary(node)]), 1, 0))
        elif isinstance(node, int):
            digest, entries, size = tree_id(tree, path)
            fields = [binary(name), number(1), number(node), binary(digest), number(entries), number(size)]
            rows.append((name, array(fields), 1 + entries, size))
        else:
            mode, content = node
            fields = [binary(name), number(0), number(mode), number(len(content)), binary(blake3(content).digest())]
            rows.append((name, array(fields), 1, len(content)))
    return directory(sorted(rows))
