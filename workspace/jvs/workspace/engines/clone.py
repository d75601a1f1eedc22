"""Cloning a tree: what is promised whichever engine does it."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import TYPE_CHECKING

from jvs.castore.checkout.disk import reporting
from jvs.castore.local.descriptors import sync_filesystem
from jvs.castore.names import display
from jvs.errors import StateError, UsageError
from jvs.workspace.engines.engine import CloneResult, Refused, stopped, unusable
from jvs.workspace.engines.registry import load_engine

if TYPE_CHECKING:
    import threading

    from jvs.workspace.progress import Progress


def clone_tree(
    src: str,
    dst: str,
    *,
    engine: str,
    skip: Collection[bytes] = (),
    durable: bool = False,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> CloneResult:
    """Make `dst` a copy of the directory `src`.

    Kept: names (any bytes), contents, holes, permission bits, times (of modification, in ns; of directories and
    symlinks too), targets of symlinks, hard links within the tree, empty directories; owner and group where this
    user may give files to them. Setuid and setgid bits are kept where the copy belongs to the same owner and group,
    so that nobody gains what the original did not give. Left out: what `skip` names, and (told in the result)
    FIFOs, sockets and devices. Not kept: extended attributes and ACLs, as in snapshots.

    No symlink is followed but in `src` and `dst` themselves, whatever is swapped in meanwhile. A file that vanishes
    while this runs is left out; one that is written to is named in the result.

    src       a directory
    dst       a path with nothing at it, in an existing directory; not in `src`, unless below a name of `skip`
    engine    the name of the engine; another one is never used in its place
    skip      names in the root of `src` that are left out
    durable   return only when all of it would survive a power cut, but for the name `dst` itself, whose directory is
              the caller's to sync (the caller renames it)
    progress  told from time to time, on this thread; bytes that are shared and not copied count too
    cancel    set it, from another thread, to have the work end soon with JvsError (interrupted)

    After any failure what was made by then is at `dst`, with permission bits that may keep others from removing it;
    it is the caller's to remove. Nothing at `dst` is complete before this returns, so give it a temporary name
    and rename it.

    Raises UsageError (not-a-directory, bad-path), StateError (already-exists, engine-unusable), UnknownError
    (unknown-engine), NoSpaceError, StoreError.
    """
    chosen = load_engine(engine)
    src, dst = _resolved(src, dst, skip)
    try:
        done = chosen.clone_tree(src, dst, skip=skip, progress=progress, cancel=cancel)
    except Refused as refusal:
        raise unusable(engine, str(refusal)) from refusal
    if durable:
        if cancel is not None and cancel.is_set():
            raise stopped()
        with reporting("cannot make durable", os.fsencode(dst)):
            fd = os.open(dst, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                sync_filesystem(fd)
            finally:
                os.close(fd)
    return done


def _resolved(src: str, dst: str, skip: Collection[bytes]) -> tuple[str, str]:
    """Both paths without symlinks, the last name of `dst` as it is; raises where the one cannot become the other."""
    with reporting("cannot look at", os.fsencode(src)):
        source = os.path.realpath(src, strict=True)
    if not os.path.isdir(source):
        raise UsageError(f"{src} is not a directory", code="not-a-directory", next="name a directory")
    above, name = os.path.split(os.path.abspath(dst))
    with reporting("cannot look at", os.fsencode(above)):
        target = os.path.join(os.path.realpath(above, strict=True), name)
    if os.path.lexists(target):
        raise StateError(f"{dst} already exists", next="choose a name that is not taken")
    inside = os.path.relpath(target, source)
    first = os.fsencode(inside.split(os.sep, 1)[0])
    if inside != os.pardir and first != os.fsencode(os.pardir) and first not in skip:
        raise UsageError(
            f"{display(os.fsencode(dst))} lies in {display(os.fsencode(src))}, which was to be copied there",
            code="bad-path",
            next="choose a place outside of it",
        )
    return source, target
