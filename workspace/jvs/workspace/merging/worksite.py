"""A conflicted merge in a directory: laid out by `fs merge --out`, settled by hand, ended by `fs resolve`.

What the directory needs to know of its merge stands in `.jvs-conflicts.json` at its root. That file is the user's to
edit or lose, and so is read as untrusted: it names revisions and paths, and never more than what the store holds for
these is read or written.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from jvs.castore.checkout import disk
from jvs.castore.digest import DIGEST_SIZE, Digest
from jvs.castore.manifest import FILE
from jvs.castore.names import CONFLICTS_FILE, display, json_fields, shorten, split_path
from jvs.errors import StateError, UnsavedChangesError, UsageError
from jvs.merge.model import Conflict, Path, Side
from jvs.workspace.merging.operands import Operand
from jvs.workspace.merging.recorded import has_markers
from jvs.workspace.results import Json

if TYPE_CHECKING:
    from jvs.workspace.merging.merge import MergeOptions, Prepared
    from jvs.workspace.repo import Repo

VERSION = 1
MAX_SIZE = 64 << 20
"""Largest `.jvs-conflicts.json` that is read."""
_PIECE = 1 << 20


class Clash(NamedTuple):
    """A conflict as the directory remembers it. base, ours, theirs: the path each side has it at, None: nowhere.
    placed: paths of the directory to look at; marker_size: length of the markers in them, 0 without any."""

    path: Path
    kind: str
    base: Path | None
    ours: Path | None
    theirs: Path | None
    placed: tuple[Path, ...]
    marker_size: int

    def at(self, path: Path) -> bool:
        """Whether somebody who names `path` means this conflict."""
        return path == self.path or path in self.placed


class Merging(NamedTuple):
    """The merge a directory stands in. base, ours, theirs: snapshots; ours_entries, theirs_entries: what these come
    from; merged: the snapshot that was laid out; into: the label it was meant for."""

    base: Digest | None
    ours: Digest
    theirs: Digest
    ours_entries: tuple[Digest, ...]
    theirs_entries: tuple[Digest, ...]
    merged: Digest
    into: str | None
    clashes: tuple[Clash, ...]


def lay_out(repo: Repo, prepared: Prepared, options: MergeOptions) -> None:
    """Write the merged tree, with markers where sides clash, into the directory `options.out`, and what `fs resolve`
    needs. Raises as a pull does: the directory is empty, new, or has nothing unsaved."""
    from jvs.workspace.pull import PullOptions, pull

    assert prepared.tree is not None
    assert options.out is not None
    try:
        pull(repo, prepared.tree.tree.digest.hex(), options.out, PullOptions(), progress=None)
    except UnsavedChangesError as error:
        error.next = "push that directory first, or name an empty or new one: --out DIR"
        raise
    into = options.into if options.into is not None else prepared.ours.label
    data = json.dumps(_as_json(prepared, into), indent=2).encode() + b"\n"
    root = disk.open_root(options.out)
    try:
        write_file(CONFLICTS_FILE, root, (data,), 0o644)
    finally:
        os.close(root)


def _as_json(prepared: Prepared, into: str | None) -> Json:
    assert prepared.tree is not None

    def side(operand: Operand) -> Json:
        entries = [entry.hex() for entry in operand.sources]
        return {"revision": operand.text, "ca_id": operand.ca_id.hex(), "entries": entries}

    return {
        "version": VERSION,
        "ours": side(prepared.ours),
        "theirs": side(prepared.theirs),
        "base": None if prepared.base is None else prepared.base.hex(),
        "merged": prepared.tree.tree.digest.hex(),
        "into": into,
        "conflicts": [_conflict_json(conflict) for conflict in prepared.tree.conflicts],
    }


def _conflict_json(conflict: Conflict) -> Json:
    merged = conflict.merged
    return {
        **json_fields(b"/".join(conflict.path)),
        "kind": conflict.kind,
        "base": _side_json(conflict.base),
        "ours": _side_json(conflict.ours),
        "theirs": _side_json(conflict.theirs),
        "placed": [json_fields(b"/".join(path)) for path in conflict.placed],
        "marker_size": merged.marker_size if merged is not None and merged.markers else 0,
    }


def _side_json(side: Side | None) -> Json | None:
    if side is None:
        return None
    digest = side.entry[4].hex() if side.entry[1] == FILE else None
    return {**json_fields(b"/".join(side.path)), "digest": digest}


def load(directory: str) -> Merging:
    """The merge a directory stands in. Raises StateError (no-merge) when it stands in none, UsageError when its
    `.jvs-conflicts.json` says nothing that makes sense."""
    try:
        root = disk.open_root(directory)
    except (NotADirectoryError, FileNotFoundError) as exc:
        step = "jvs fs merge OURS THEIRS --out DIR"
        raise UsageError(f"{directory} is not a directory", code="not-a-directory", next=step) from exc
    except OSError as exc:
        raise disk.disk_error(exc, f"opening {directory}") from exc
    try:
        raw = read_file(CONFLICTS_FILE, root, MAX_SIZE)
    except OSError as exc:  # a symlink, a directory, a FIFO, or not for us to read
        raise disk.disk_error(exc, f"reading {CONFLICTS_FILE.decode()} in {directory}") from exc
    finally:
        os.close(root)
    if raw is None:
        raise StateError(f"{directory} stands in no merge", code="no-merge")
    try:
        return _merging(json.loads(raw))
    except (ValueError, KeyError, TypeError, RecursionError, UsageError) as exc:
        name = CONFLICTS_FILE.decode()
        why = f"{type(exc).__name__}: {exc}" if isinstance(exc, KeyError | TypeError) else str(exc)
        raise UsageError(
            f"{name} in {directory} is not what fs merge wrote: {shorten(why, 200)}",
            next="jvs fs merge OURS THEIRS --out DIR",
        ) from exc


def _merging(raw: Any) -> Merging:
    if not isinstance(raw, dict) or raw["version"] != VERSION:
        raise ValueError(f"it is of no version that is known here ({VERSION})")
    return Merging(
        None if raw["base"] is None else _digest(raw["base"]),
        _digest(raw["ours"]["ca_id"]),
        _digest(raw["theirs"]["ca_id"]),
        tuple(_digest(entry) for entry in raw["ours"]["entries"]),
        tuple(_digest(entry) for entry in raw["theirs"]["entries"]),
        _digest(raw["merged"]),
        None if raw["into"] is None else _text(raw["into"]),
        tuple(_clash(one) for one in raw["conflicts"]),
    )


def _clash(raw: Mapping[str, Any]) -> Clash:
    size = raw["marker_size"]
    if type(size) is not int or not 0 <= size <= 1 << 20:
        raise ValueError("a marker size is no number")
    sides = [None if raw[name] is None else _path(raw[name]) for name in ("base", "ours", "theirs")]
    placed = tuple(_path(one) for one in raw["placed"])
    return Clash(_path(raw), _text(raw["kind"]), sides[0], sides[1], sides[2], placed, size)


def _path(raw: Mapping[str, Any]) -> Path:
    import base64

    if "path_b64" in raw:
        return split_path(base64.b64decode(raw["path_b64"], validate=True))
    return split_path(_text(raw["path"]))


def _text(raw: Any) -> str:
    if not isinstance(raw, str):
        raise TypeError(f"a text is expected, not {type(raw).__name__}")
    return raw


def _digest(raw: Any) -> Digest:
    digest = bytes.fromhex(_text(raw))
    if len(digest) != DIGEST_SIZE:
        raise ValueError("an id has 64 hex digits")
    return digest


def with_markers(directory: str, merging: Merging) -> list[bytes]:
    """The files of conflicts that still hold conflict markers."""
    found: dict[bytes, None] = {}
    root = disk.open_root(directory)
    try:
        with disk.Directories(root) as directories:
            for clash in merging.clashes:
                for path in clash.placed if clash.marker_size else ():
                    # what is not there, or no file any more, holds no markers
                    with suppress(FileNotFoundError, NotADirectoryError):
                        if _holds_markers(directories, path, clash.marker_size):
                            found[b"/".join(path)] = None
    except OSError as exc:
        raise disk.disk_error(exc, f"looking for conflict markers in {directory}") from exc
    finally:
        os.close(root)
    return list(found)


def _holds_markers(directories: disk.Directories, path: Path, size: int) -> bool:
    """Whether a file holds conflict markers; read in pieces, as it may be of any size by now."""
    try:
        fd = disk.open_old(path[-1], directories.fd(b"/".join(path[:-1])))
    except OSError as exc:
        if exc.errno == errno.ELOOP:  # a symlink, or no regular file
            return False
        raise
    try:
        line = b""
        while piece := os.read(fd, _PIECE):
            text = line + piece
            end = text.rfind(b"\n") + 1
            if has_markers(text[:end], size):
                return True
            line = text[end:][: size + 1]  # a longer line is told by its beginning
        return has_markers(line, size)
    finally:
        os.close(fd)


def finish(directory: str) -> None:
    """The merge is over: forget it."""
    root = disk.open_root(directory)
    try:
        with suppress(FileNotFoundError):
            os.unlink(CONFLICTS_FILE, dir_fd=root)
    finally:
        os.close(root)


def read_file(name: bytes, parent: int, limit: int) -> bytes | None:
    """The content of a regular file; None when there is none. Raises UsageError for one larger than `limit` bytes."""
    try:
        fd = disk.open_old(name, parent)
    except FileNotFoundError:
        return None
    try:
        if os.fstat(fd).st_size > limit:
            raise UsageError(f"{display(name)} is larger than {limit:,} bytes")
        pieces = []
        while piece := os.read(fd, 1 << 20):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        os.close(fd)


def write_file(name: bytes, parent: int, pieces: Iterable[bytes], mode: int) -> None:
    """Write a file under a temporary name, then put it in its place, whatever file is there."""
    temp = disk.TemporaryNames(os.urandom(4).hex()).new()
    fd = disk.open_new(temp, parent, 0o600)
    try:
        for piece in pieces:
            disk.write_all(fd, piece)
        disk.settle_mode(fd, os.fstat(fd), mode)
        os.rename(temp, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        os.unlink(temp, dir_fd=parent)
        raise
    finally:
        os.close(fd)
