"""Opens an index that may be damaged and walks it, so that if that kills a process it is this one.

Run as a child by `env.probe`: exit status 0 when the index is sound, 1 with one line on stderr when it is not.
`--quick` walks what labels and packs need and leaves the object index out (for a large index that only saw a process
die: then LMDB's own rules hold, and every row is checked again when it is read).
"""

from __future__ import annotations

import sys

import lmdb
import lmdb.verify

from jvs.castore.local.env import open_index
from jvs.castore.local.failures import lmdb_error
from jvs.castore.local.walk import walk_index
from jvs.errors import JvsError


def examine(path: str, *, quick: bool) -> str | None:
    """What is wrong with the index in the directory `path`, in one line; None when it is sound."""
    if not quick:
        try:
            problems = lmdb.verify.verify(path)  # type: ignore[no-untyped-call]
        except lmdb.verify.VerifyError as exc:
            return f"the index is damaged: {exc}"
        if problems:
            return f"the index is damaged: {problems[0]}"
    try:
        index = open_index(path, readonly=True)
        try:
            with index.begin() as txn:
                for damage in walk_index(txn, without_objects=quick):
                    return f"the index is damaged: table {damage.table}: {damage.reason}"
        finally:
            index.close()
    except lmdb.Error as exc:
        return lmdb_error(exc).message
    except JvsError as exc:
        return exc.message
    return None


def main() -> None:
    """Examine the index named by the last argument."""
    problem = examine(sys.argv[-1], quick="--quick" in sys.argv[1:-1])
    if problem is not None:
        sys.stderr.write(problem + "\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
