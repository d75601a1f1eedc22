"""A small program that works on a store and says what was acknowledged. Run by tests that kill it, or fail its calls.

    driver.py STORE COUNT SIZE FIRST   make or open STORE; for each of COUNT rounds, numbered from FIRST, publish some
                                       objects of about SIZE bytes and move a label

Each acknowledged round is a line `round digest` on stdout. A JvsError ends it with status 7 and its code on stderr.
"""

from __future__ import annotations

import os
import random
import sys

from jvs.castore.backend import Codec, Kind, Ref, Stored, Table, WriteTxn
from jvs.castore.digest import Digest, file_digest, page_digest
from jvs.castore.local.store import LocalStore
from jvs.errors import JvsError

LABELS = Table("labels")


def tree(number: int, size: int = 200) -> list[tuple[Kind, Digest, Stored, list[Ref]]]:
    """The objects of round `number`: chunks, parts, a layout, a child page and a root page, children first."""
    noise = random.Random(number)
    chunk, part = noise.randbytes(size), noise.randbytes(size // 2)
    inner, outer = b"inner %d" % number, b"outer %d" % number
    leaf, root = page_digest(inner), page_digest(outer)
    chunk_ref, part_ref = Ref(Kind.CHUNK, file_digest(chunk)), Ref(Kind.PART, file_digest(part))

    def raw(data: bytes) -> Stored:
        return Stored(Codec.RAW, len(data), data)

    return [
        (*chunk_ref, raw(chunk), []),
        (*part_ref, raw(part), []),
        (Kind.LAYOUT, leaf, raw(b"layout %d" % number), [part_ref, chunk_ref]),
        (Kind.PAGE, leaf, raw(inner), [Ref(Kind.LAYOUT, leaf)]),
        (Kind.PAGE, root, raw(outer), [Ref(Kind.PAGE, leaf)]),
    ]


def push(store: LocalStore, number: int, size: int = 200) -> Digest:
    """Publish the tree of a round and move the label `r<number>` to it in the same transaction."""
    objects = tree(number, size)
    root = objects[-1][1]

    def move(txn: WriteTxn) -> None:
        txn.require(root)
        txn.put(LABELS, b"r%d" % number, root)
        txn.journal("move", {"label": b"r%d" % number, "to": root}, {"message": "round"})

    with store.writer() as writer:
        for kind, key, stored, children in objects:
            writer.put(kind, key, stored, children)
        writer.publish(move)
    return root


def main() -> None:
    path = sys.argv[1]
    count, size, first = map(int, sys.argv[2:])
    try:
        with LocalStore.create(path) as store:
            for number in range(first, first + count):
                root = push(store, number, size)
                os.write(1, b"%d %s\n" % (number, root.hex().encode()))
    except JvsError as error:
        os.write(2, f"{error.code}: {error.message}\n".encode())
        sys.exit(7)


if __name__ == "__main__":
    main()
