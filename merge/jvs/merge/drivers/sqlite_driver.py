"""The driver for SQLite databases: by table, row and column (docs/merge-drivers.md). Needs the extra `[sqlite]`."""

from __future__ import annotations

from typing import Final

from jvs.merge.content import Contents, Merged, Options
from jvs.merge.drivers.giveup import GiveUp

_MAGIC: Final = b"SQLite format 3\0"


class SqliteDriver:
    """Merges the rows of databases of one schema by primary key. A conflict is a row or one of its columns; the merged
    database has ours in its place. The bytes of a database are never merged."""

    name = "sqlite"
    max_size = 16 << 20

    def suits(self, path: bytes, contents: Contents) -> bool:
        """By how every side begins."""
        return all(side.startswith(_MAGIC) for side in contents if side is not None)

    def merge(self, path: bytes, contents: Contents, options: Options) -> Merged | None:
        """See `content.MergeDriver`."""
        if contents.base is None:
            raise GiveUp("without a base nothing says which rows are new")
        try:
            from jvs.merge.drivers.sqlite_merge import merge_databases
        except ImportError:
            raise GiveUp("apsw is not installed (the extra [sqlite] brings it)") from None
        return merge_databases(self.name, (contents.base, contents.ours, contents.theirs), options.prefer)
