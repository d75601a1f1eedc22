"""What a purge answers (see `results`)."""

from __future__ import annotations

from typing import Final, NamedTuple

from jvs.castore.digest import Digest
from jvs.castore.names import json_fields
from jvs.workspace.results import Json

UNREACHABLE: Final = (
    "directories on disk that hold it",
    "exports, backups and clones of this store, and other stores",
    "file system snapshots, and the free blocks of the disk",
)
"""What no purge of a store can reach, for people."""


class Also(NamedTuple):
    """Content that was named and stays, since a snapshot has it at a path that was not. ca_id: that snapshot."""

    ca_id: Digest
    path: bytes
    size: int

    def as_json(self) -> Json:
        """{ca_id, path, size}."""
        return {"ca_id": self.ca_id.hex(), **json_fields(self.path), "size": self.size}


class PurgeResult(NamedTuple):
    """`fs purge`: what it did, or with `dry_run` would do.

    purge_id         None: of a dry run
    done             False: something is left, see `left`; the same command goes on
    paths            the first of the paths that were named
    snapshots        how many were replaced by others, or purged as a whole
    labels           whose histories have one of them
    files, bytes     different contents that go, and their plain sizes
    also             contents that stay, each with one path that has it
    shared_chunks, shared_bytes  chunks of what goes that other files have as well, and so stay
    recorded         recorded resolutions of conflicts that were forgotten
    pages            laid out anew, since they shared a part with something dead
    objects          removed from the index
    packs            rewritten, or dropped
    left             what could not be done, for people
    unreachable      what no purge of this store can reach, for people
    """

    purge_id: bytes | None
    done: bool
    dry_run: bool
    paths: tuple[bytes, ...]
    snapshots: int
    labels: tuple[str, ...]
    files: int
    bytes: int
    also: tuple[Also, ...]
    shared_chunks: int
    shared_bytes: int
    recorded: int = 0
    pages: int = 0
    objects: int = 0
    packs: int = 0
    left: tuple[str, ...] = ()
    unreachable: tuple[str, ...] = UNREACHABLE

    def as_json(self) -> Json:
        """All fields; ids in hex."""
        out: Json = {name: getattr(self, name) for name in self._fields}
        out["purge_id"] = None if self.purge_id is None else self.purge_id.hex()
        out["paths"] = [json_fields(path) for path in self.paths]
        out["also"] = [one.as_json() for one in self.also]
        for name in ("labels", "left", "unreachable"):
            out[name] = list(out[name])
        return out
