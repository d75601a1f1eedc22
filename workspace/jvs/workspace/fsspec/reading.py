"""The half of `jvs://` that looks and reads."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from typing import Any

from jvs.castore.hasher import TreeHasher
from jvs.errors import CollectedError, UnknownError
from jvs.overlay.handles import OverlayFile
from jvs.overlay.overlay import Overlay
from jvs.workspace.fsspec.base import Base
from jvs.workspace.fsspec.facts import Facts, facts, label_facts, listing
from jvs.workspace.fsspec.failures import as_os_errors, with_addresses
from jvs.workspace.fsspec.files import HELD, HeldBytes, ReadFile, TextFile
from jvs.workspace.fsspec.locations import Location
from jvs.workspace.fsspec.writing import open_to_write
from jvs.workspace.reading import unless_collected


class Reading(Base):
    """A store that is read."""

    # -- looking ---------------------------------------------------------------------------------------------------

    def info(self, path: str, **_: Any) -> Facts:
        """What is there; see `facts`. Of the root of a label also `label` and `generation`."""
        path = self._strip_protocol(path)
        if not path:
            return label_facts("")

        def look(overlay: Overlay, location: Location) -> Facts:
            found = facts(overlay, location.inner, location.name(location.inner))
            if not location.inner and location.label is not None:
                found.update(label=location.label, generation=location.generation)
            return found

        try:
            return self._look(path, look)
        except FileNotFoundError as error:
            if _is_unknown_label(error) and next(iter(self._labels_below(path)), None):
                return label_facts(path)
            raise

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """What a directory has, in name order; of a file, itself. The root has the labels."""
        path = self._strip_protocol(path)
        try:
            if not path:
                found = list(self._labels_below(""))
            elif detail:
                found = self._look(path, lambda tree, at: listing(tree, at.inner, at.name(at.inner)))
            else:
                return self._look(path, _names)
        except FileNotFoundError as error:
            found = list(self._labels_below(path)) if _is_unknown_label(error) else []
            if not found:
                raise
        return found if detail else [one["name"] for one in found]

    def _labels_below(self, prefix: str) -> Iterator[Facts]:
        above = f"{prefix}/" if prefix else ""
        last = None
        for info in self._store().repo.labels.list(above):
            name = above + info.name[len(above) :].partition("/")[0]
            if name != last:
                yield label_facts(name) if name != info.name else label_facts(name, info)
            last = name

    def exists(self, path: str, **_: Any) -> bool:
        """Whether there is something. Damage is no absence: it raises."""
        try:
            self.info(path)
        except OSError as error:
            if error.errno == errno.EIO:
                raise
            return False
        return True

    def lexists(self, path: str, **_: Any) -> bool:
        """Whether there is something, be it a link that leads nowhere."""
        return self.exists(path) or self.islink(path)

    def islink(self, path: str) -> bool:
        """Whether it is a symbolic link."""
        try:
            return self._look(path, lambda tree, at: tree.is_symlink(at.inner or "/"))
        except OSError:
            return False

    def find(self, path: str, *args: Any, **options: Any) -> Any:
        """As fsspec has it, of one snapshot, whatever its label does meanwhile; so `glob`, `du` and `expand_path`."""
        with self._together():
            return super().find(path, *args, **options)

    def modified(self, path: str) -> datetime:
        """When it was last written: of what a label has, when the label last moved."""
        return datetime.fromtimestamp(self.info(path)["mtime"], tz=UTC)

    def created(self, path: str) -> datetime:
        """As `modified`: nothing else is versioned."""
        return datetime.fromtimestamp(self.info(path)["created"], tz=UTC)

    def ukey(self, path: str) -> str:
        """The digest of the content, in hex: the same wherever the same content is. Of a file that is not pushed yet it
        is read to be known; a directory that is not has none, but a key of what is known of it."""

        def look(overlay: Overlay, location: Location) -> str | None:
            inner = location.inner or "/"
            known = overlay.digest(inner)
            if known is not None:
                return known.hex()
            if overlay.is_dir(inner):
                return None
            with OverlayFile(overlay.open_handle(inner, os.O_RDONLY), path, "rb") as file:
                return TreeHasher(self._store().repo.objects).stream(file.readinto)[0].hex()

        key = self._look(path, look)
        return str(super().ukey(path)) if key is None else key

    def checksum(self, path: str) -> int:
        """`ukey` as a number."""
        return int(self.ukey(path), 16)

    # -- reading ---------------------------------------------------------------------------------------------------

    def open(self, path: Any, mode: str = "rb", block_size: Any = None, **options: Any) -> Any:
        """As the builtin `open` (binary unless told otherwise): `r`, `w`, `x`, `a`, and `+`. Directories above a new
        file are made. What is written is there, for everybody, when the file was closed."""
        if "b" in mode:
            return super().open(path, mode, block_size=block_size, **options)
        text = {name: options.pop(name) for name in ("encoding", "errors", "newline") if name in options}
        return TextFile(self.open(path, mode.replace("t", "") + "b", block_size=block_size, **options), **text)

    def _open(self, path: str, mode: str = "rb", block_size: Any = None, **_: Any) -> Any:
        buffer = block_size if isinstance(block_size, int) and block_size > 1 else 1 << 17
        with as_os_errors(path):
            if mode in ("rb", "br"):
                try:
                    return self._open_to_read(path, buffer)
                except CollectedError:  # the label has moved since, perhaps
                    return self._open_to_read(path, buffer)
            location = self._writable(path)
            with with_addresses(location):
                return open_to_write(self, self._store(), self._scope(), location, path, mode, buffer)

    def _open_to_read(self, path: str, buffer: int) -> ReadFile:
        opened = self._store()
        scope = self._scope()
        location = opened.locate(path) if scope is None else scope.locate(path)
        shared = None if scope is None else scope.written(location)
        fixed = None if shared is not None else f"@{location.ca_id.hex()}/{location.inner}"
        raw: OverlayFile | HeldBytes
        with unless_collected(opened.repo, location.ca_id), with_addresses(location), ExitStack() as stack:
            overlay = shared
            if overlay is None:
                view = opened.hold(location)
                stack.callback(opened.give_back, view)
                overlay = view.overlay
            handle = overlay.open_handle(location.inner or "/", os.O_RDONLY)
            stack.callback(handle.close)
            size = handle.size
            if shared is None and size <= HELD:
                raw = HeldBytes(handle.read(size, 0))
                stack.close()
            else:
                if shared is None:
                    opened.pin(view)
                raw = OverlayFile(handle, path, "rb")
            held = stack.pop_all()
        file = ReadFile(self, path, raw, size, fixed=fixed, buffer=buffer, on_close=held.close)
        if shared is not None and scope is not None:
            scope.opened_file(file)
            held.callback(scope.closed_file, file)
        return file

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """The bytes of a file, or those of a slice."""

        def look(overlay: Overlay, location: Location) -> bytes:
            inner = location.inner or "/"
            if start is None and end is None:
                return overlay.read_bytes(inner)
            with closing(overlay.open_handle(inner, os.O_RDONLY)) as handle:
                first, last, _step = slice(start, end).indices(handle.size)
                return handle.read(max(0, last - first), first)

        return self._look(path, look)

    def cat_ranges(
        self, paths: Any, starts: Any, ends: Any, max_gap: int | None = None, on_error: str = "return", **options: Any
    ) -> list[Any]:
        """Slices of files, all of the same snapshots. max_gap: of no use here, chunks are kept."""
        with self._together():
            return list(super().cat_ranges(paths, starts, ends, None, on_error, **options))

    def cat(self, path: Any, recursive: bool = False, on_error: str = "raise", **options: Any) -> Any:
        """As fsspec has it, all of the same snapshots."""
        with self._together():
            return super().cat(path, recursive, on_error, **options)

    def get(self, rpath: Any, lpath: Any, recursive: bool = False, **options: Any) -> None:
        """As fsspec has it, all of the same snapshots."""
        with self._together():
            super().get(rpath, lpath, recursive, **options)


def _names(overlay: Overlay, location: Location) -> list[str]:
    inner = location.inner or "/"
    if not overlay.is_dir(inner):
        return [facts(overlay, inner, location.name(location.inner))["name"]]
    return [f"{location.name(location.inner)}/{name}" for name in overlay.listdir(inner)]


def _is_unknown_label(error: OSError) -> bool:
    return isinstance(error.__cause__, UnknownError) and error.__cause__.code == "unknown-label"
