"""`jvs://`: labels and snapshots as a file system of fsspec. Registered by an entry point; docs/fsspec.md."""

from __future__ import annotations

import errno
import os
import re
import shutil
from typing import Any

from jvs.workspace.fsspec.failures import as_os_errors
from jvs.workspace.fsspec.library import DEFAULT_CALLBACK, trailing_sep
from jvs.workspace.fsspec.reading import Reading
from jvs.workspace.fsspec.work import make_parents, remove
from jvs.workspace.overlays import RepoOverlay

_MAGIC = re.compile(r"[*?\[]")


class JvsFileSystem(Reading):
    """The labels and snapshots of one store: `LABEL/path`, `LABEL@REV/path`, `@CAID/path`.

    store    the store directory, or one that holds `.jvs`; default: JVS_STORE, else the nearest `.jvs` upwards
    session  name of a session: what its label is, is read and written there, and not pushed

    Labels are written to, everything else is fixed. Outside of a transaction each call that returns, and each file that
    is closed, is one push; what fails moves nothing. Failures are OSErrors (FileNotFoundError for what is not there,
    PermissionError with EROFS for what is fixed); a JvsError is only raised for a label that goes on moving, for
    conflicts, and for a store that cannot be used.
    """

    # -- writing ---------------------------------------------------------------------------------------------------

    def pipe_file(self, path: str, value: Any, mode: str = "overwrite", **_: Any) -> None:
        """Make a file be `value`. mode `create`: FileExistsError when there is one."""

        def write(overlay: RepoOverlay, inner: str) -> None:
            make_parents(overlay, inner)
            with overlay.open(inner, "xb" if mode == "create" else "wb", 0) as file:
                file.write(value)

        self._change(path, "write", write)

    def pipe(self, path: Any, value: Any = None, **options: Any) -> None:
        """As fsspec has it; of many files, one push."""
        self._at_once("write files", lambda: super(JvsFileSystem, self).pipe(path, value, **options))

    def put_file(
        self, lpath: Any, rpath: str, callback: Any = DEFAULT_CALLBACK, mode: str = "overwrite", **_: Any
    ) -> None:
        """Write a local file, or make a directory where there is one."""
        if os.path.isdir(lpath):
            self.makedirs(rpath, exist_ok=True)
            return
        with open(lpath, "rb") as source, self.open(rpath, "xb" if mode == "create" else "wb") as target:
            callback.set_size(os.fstat(source.fileno()).st_size)
            while data := source.read(self.blocksize):
                callback.relative_update(target.write(data))

    def put(self, lpath: Any, rpath: Any, *args: Any, **options: Any) -> None:
        """As fsspec has it, in one push."""
        self._at_once("put files", lambda: super(JvsFileSystem, self).put(lpath, rpath, *args, **options), again=False)

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        """Make a directory, which stays also when it is empty."""

        def make(overlay: RepoOverlay, inner: str) -> None:
            if create_parents:
                make_parents(overlay, inner)
            overlay.mkdir(inner)

        self._change(path, "make directory", make)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Make a directory and those above it."""
        path = self._strip_protocol(path)
        if exist_ok and self.isdir(path):
            return  # also of what is fixed
        self._change(path, "make directory", lambda overlay, inner: overlay.makedirs(inner, exist_ok=exist_ok))

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        self._change(path, "remove", lambda overlay, inner: overlay.rmdir(inner))

    def rm_file(self, path: str) -> None:
        """Remove a file or a link."""
        self._change(path, "remove", lambda overlay, inner: overlay.unlink(inner))

    def _rm(self, path: str) -> None:
        self.rm_file(path)

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Remove files, with `recursive` also directories and all that is below them; one push. maxdepth: only so deep,
        and directories that are empty then."""

        def work() -> None:
            listed = self.expand_path(path, recursive=recursive and maxdepth is not None, maxdepth=maxdepth)
            for one in reversed(listed):
                if not recursive:
                    self.rm_file(one)
                elif maxdepth is None:
                    self._change(one, "remove", remove)
                else:
                    self._change(one, "remove", _remove_unless_filled)

        what = path if isinstance(path, str) else "files"
        self._at_once(f"remove {self._strip_protocol(what)}", work)

    def touch(self, path: str, truncate: bool = True, **_: Any) -> None:
        """Make an empty file; truncate False: one that is there is left as it is (times are not versioned)."""

        def make(overlay: RepoOverlay, inner: str) -> None:
            make_parents(overlay, inner)
            with overlay.open(inner, "wb" if truncate else "ab", 0):
                pass

        self._change(path, "write", make)

    def cp_file(self, path1: str, path2: str, **_: Any) -> None:
        """Copy a file by reference (no byte is read), also out of another revision; of a directory, make it."""
        source = self._strip_protocol(path1)
        if self.isdir(source):
            self.makedirs(path2, exist_ok=True)
        else:
            self._copy(source, path2)

    def _copy(self, source: str, path2: str) -> None:
        def copy(overlay: RepoOverlay, inner: str) -> None:
            # looked at each time: it may be another file by now
            with self._tree(source) as (tree, at):
                make_parents(overlay, inner)
                if tree is overlay or (at.label is not None and at.label == overlay.origin.label):
                    overlay.copy(at.inner, inner)
                elif self.session is not None:  # which keeps no other snapshot than its base
                    with tree.open(at.inner, "rb") as original, overlay.open(inner, "wb") as made:
                        shutil.copyfileobj(original, made, self.blocksize)
                else:
                    overlay.graft(at.ca_id, tree.realpath(at.inner), inner)

        self._look(source, lambda tree, at: tree.lstat(at.inner or "/"))  # missing, it is told by its own address
        self._change(path2, f"copy {source} to", copy)

    def copy(
        self, path1: Any, path2: Any, recursive: bool = False, maxdepth: int | None = None, **options: Any
    ) -> None:
        """As fsspec has it, by reference and in one push; a whole directory that goes to a new place for the price of
        one entry (its links stay links)."""

        def work() -> None:
            simple = recursive and maxdepth is None and self.session is None
            target = self._goes_to(path1, path2) if simple else None
            if target is not None and self.isdir(path1) and not self.lexists(target):
                self._copy(self._strip_protocol(path1), target)
            else:
                super(JvsFileSystem, self).copy(path1, path2, recursive, maxdepth, **options)

        self._at_once("copy files", work)

    def mv(self, path1: Any, path2: Any, recursive: bool = False, maxdepth: int | None = None, **options: Any) -> None:
        """Rename a file, or a directory with all that is below it, in one push: readers see it here or there. Into a
        directory that exists, under its own name. Patterns, lists, and depths: a copy and a removal, in one push."""

        def work() -> None:
            target = self._goes_to(path1, path2) if maxdepth is None else None
            if target is None or (self.isdir(target) and self.isdir(path1)):
                super(JvsFileSystem, self).mv(path1, path2, recursive=recursive, maxdepth=maxdepth, **options)
                return
            source = self._strip_protocol(path1)
            with as_os_errors(source):
                old = self._writable(source)
            with as_os_errors(target):
                new = self._writable(target)
            if old.label != new.label:
                raise OSError(errno.EXDEV, "a move is within one label; copy, then remove", path1, None, path2)

            def move(overlay: RepoOverlay, inner: str) -> None:
                make_parents(overlay, inner)
                overlay.rename(old.inner or "/", inner)

            self._change(target, f"move {old.inner} to", move)

        self._at_once("move files", work)

    def _goes_to(self, path1: Any, path2: Any) -> str | None:
        """Where fsspec copies one path to: into a directory that exists, unless it is the content of one that is meant
        (a slash at its end). None when that is not just one path."""
        if not (isinstance(path1, str) and isinstance(path2, str)) or _MAGIC.search(path1):
            return None
        target: str = self._strip_protocol(path2)
        inside = (trailing_sep(path2) or self.isdir(target)) and not trailing_sep(path1)
        return f"{target}/{self._strip_protocol(path1).rpartition('/')[2]}" if inside else target

    def symlink(self, src: str, dst: str) -> None:
        """Make `dst` a link whose target is the text `src`."""
        self._change(dst, "link", lambda overlay, inner: overlay.symlink(src, inner))

    def chmod(self, path: str, mode: int) -> None:
        """Set permission bits."""
        self._change(path, "change the mode of", lambda overlay, inner: overlay.chmod(inner, mode))


def _remove_unless_filled(overlay: RepoOverlay, inner: str) -> None:
    if not overlay.is_dir(inner) or overlay.is_symlink(inner):
        overlay.unlink(inner)
    elif not overlay.listdir(inner):
        overlay.rmdir(inner)
