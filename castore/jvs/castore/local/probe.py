"""Opens an index that may be damaged and walks it, so that if that kills a process it is this one.

Run as a child by `env.probe`: exit status 0 when the index is sound, 1 with a line on stderr for each thing that is
not. `--quick` walks what labels and packs need and leaves the object index out (for a large index that only saw a
process die: then LMDB's own rules hold, and every row is checked again when it is read).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice

import lmdb
import lmdb.verify

from jvs.castore.local.env import open_index
from jvs.castore.local.failures import lmdb_error
from jvs.castore.local.walk import walk_index
from jvs.errors import JvsError

_MOST = 100
"""More findings than this are not worth telling."""


def examine(path: str, *, quick: bool) -> Iterator[str]:
    """Everything wrong with the index in the directory `path`: its structure first, then its rows and sums."""
    if not quick:
        try:
            problems = lmdb.verify.verify(path)  # type: ignore[no-untyped-call]
        except lmdb.verify.VerifyError as exc:
            problems = [str(exc)]
        if problems:
            yield from problems
            return  # LMDB would trip over them
    try:
        index = open_index(path, readonly=True)
        try:
            with index.begin() as txn:
                for table, _, reason in walk_index(txn, without_objects=quick):
                    yield f"table {table}: {reason}"
        finally:
            index.close()
    except lmdb.Error as exc:
        yield lmdb_error(exc).message
    except JvsError as exc:
        yield exc.message


def main() -> None:
    """Examine the index named by the last argument."""
    findings = list(islice(examine(sys.argv[-1], quick="--quick" in sys.argv[1:-1]), _MOST))
    sys.stderr.writelines(finding + "\n" for finding in findings)
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
