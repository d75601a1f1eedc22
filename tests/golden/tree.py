"""The fixed test tree whose id is published: everything a manifest can hold, made by rule, the same everywhere."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TypeAlias

from blake3 import blake3

Node: TypeAlias = "tuple[int, bytes] | int | bytes"
"""A file (mode, content), a directory (mode) or a symlink (target)."""


def filler(name: str, size: int) -> bytes:
    """`size` bytes that follow from `name`: BLAKE3 in its extendable-output mode."""
    return blake3(name.encode()).digest(length=size) if size else b""


@cache
def golden_tree() -> dict[bytes, Node]:
    """path -> node; a directory comes before what is in it."""
    tree: dict[bytes, Node] = {
        b"README": (0o644, b"jvs\n"),
        b"empty": (0o600, b""),
        b"bin": 0o755,
        b"bin/run": (0o755, b"#!/bin/sh\n"),
        b"links": 0o700,
        b"links/dangling": b"nowhere",
        b"links/absolute": b"/etc/hostname",
        b"links/up": b"../README",
        b"links/bytes": b"\xff\x80 \n",
        b"names": 0o755,
        b"modes": 0o755,
        b"modes/setgid": 0o2775,
        b"modes/sticky": 0o1777,
        b"many": 0o755,
        b"sizes": 0o755,
    }
    for name in (b"-x", b"a\nb", b"\"'", b"\xff\xfe", "\u00e9".encode(), "e\u0301".encode(), b".hidden", b"...", b"~ "):
        tree[b"names/" + name] = (0o644, b"named " + name)
    tree[b"names/" + b"n" * 255] = (0o644, b"long")
    for mode in (0o400, 0o444, 0o640, 0o755, 0o777):
        tree[b"modes/%o" % mode] = (mode, b"mode")
    for number in range(1_500):
        tree[b"many/%06d.txt" % number] = (0o644, b"number %d\n" % number)
    for size in (65_535, 65_536, 65_537, 262_143, 262_144, 262_145, 4_194_303, 4_194_304, 4_194_305):
        tree[b"sizes/%d" % size] = (0o644, filler(f"size {size}", size))
    tree[b"sizes/zeros"] = (0o644, bytes(3_000_000))
    deep = b"deep"
    for _ in range(60):
        tree[deep] = 0o755
        deep += b"/d"
    tree[deep] = (0o644, b"bottom")
    return tree


def write_tree(root: Path) -> None:
    """Make the tree below the existing directory `root`."""
    base = os.fsencode(root)
    for path, node in golden_tree().items():
        full = base + b"/" + path
        if isinstance(node, bytes):
            os.symlink(node, full)
        elif isinstance(node, int):
            os.mkdir(full)
            os.chmod(full, node)
        else:
            with open(full, "xb") as file:
                file.write(node[1])
            os.chmod(full, node[0])
