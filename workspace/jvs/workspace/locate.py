"""Which store a command means (DESIGN 10): `--store`, then `JVS_STORE`, then the nearest `.jvs` upwards."""

from __future__ import annotations

import os

from jvs.castore.names import display, to_bytes
from jvs.errors import NoStoreError, UsageError

CONTROL = ".jvs"
MARKER = "format_version"
POINTER = "store"
"""A file in a `.jvs` that is no store itself: the absolute path of the one it stands for (of a repository whose store
lies elsewhere, of a mount)."""
_MAX_PATH = 4096


def is_store(path: str) -> bool:
    """Whether `path` is a store directory (opening it may still find it damaged)."""
    return os.path.isfile(os.path.join(path, MARKER))


def store_of(control: str) -> str | None:
    """The store that a `.jvs` directory is, or names in its file `store`; None when it is neither. Raises NoStoreError
    for one that names a store which is not there."""
    try:
        with open(os.path.join(control, POINTER), "rb") as file:
            raw = file.read(_MAX_PATH + 1).removesuffix(b"\n")
    except (FileNotFoundError, NotADirectoryError):
        return control if is_store(control) else None
    named = os.fsdecode(raw)
    if len(raw) > _MAX_PATH or b"\0" in raw or not os.path.isabs(named) or not is_store(named):
        raise NoStoreError(
            f"{_show(os.path.join(control, POINTER))} names a store that is not there: {display(raw[:300])}",
            next="mount what it lies on, or write into that file where the store is now",
            path=control,
        )
    return named


def find_control(start: str) -> str | None:
    """The nearest `.jvs` at or above `start` that is a store or names one; None when there is none.

    It is taken only when it belongs to this user or root: a shared parent directory could otherwise plant one. Raises
    NoStoreError (foreign-store).
    """
    here = os.path.abspath(start)
    while True:
        candidate = os.path.join(here, CONTROL)
        if is_store(candidate) or os.path.isfile(os.path.join(candidate, POINTER)):
            owner = os.stat(candidate).st_uid
            if owner not in (0, os.geteuid()):
                raise NoStoreError(
                    f"the store {_show(candidate)} belongs to another user (uid {owner}) and was found by searching",
                    code="foreign-store",
                    next=f"jvs --store {_show(candidate)} ...",
                    path=candidate,
                )
            return candidate
        parent = os.path.dirname(here)
        if parent == here:
            return None
        here = parent


def find_store(explicit: str | None, env: str | None, start: str) -> str:
    """The store directory meant. explicit: `--store`; env: the value of JVS_STORE; start: where the search begins.

    A path is the store itself or a directory that holds `.jvs`; a `.jvs` may name another directory (see `store_of`).
    Raises NoStoreError, naming what was looked at.
    """
    for origin, value in (("--store", explicit), ("JVS_STORE", env)):
        if value:
            return _given(origin, value)
    control = find_control(start)
    found = None if control is None else store_of(control)
    if found is None:
        raise NoStoreError(
            f"no store: there is no {CONTROL} here or above {_show(os.path.abspath(start))}", path=start
        )
    return found


def _given(origin: str, value: str) -> str:
    if "://" in value:
        raise UsageError(f"{origin} {value}: this version opens stores in local directories only", code="bad-path")
    path = os.path.abspath(value)
    for candidate in (path, os.path.join(path, CONTROL)):
        found = store_of(candidate)
        if found is not None:
            return found
    if not os.path.isdir(path):
        raise NoStoreError(f"{origin} {_show(path)}: there is no such directory", path=path)
    raise NoStoreError(
        f"{origin} {_show(path)} is not a store, and holds none",
        code="not-a-store",
        next=f"jvs fs init {_show(path)}",
        path=path,
    )


def init_path(operand: str | None, explicit: str | None, env: str | None, start: str) -> str:
    """Where `fs init` makes a store: the operand, else `--store`, else JVS_STORE, else `./.jvs`.

    A directory that already is a store, or holds one in `.jvs`, means that store.
    """
    chosen = operand or explicit or env
    if chosen is None:
        control = os.path.join(os.path.abspath(start), CONTROL)
        return store_of(control) or control
    if "://" in chosen:
        raise UsageError(f"{chosen}: this version makes stores in local directories only", code="bad-path")
    path = os.path.abspath(chosen)
    inner = os.path.join(path, CONTROL)
    return store_of(path) or store_of(inner) or path


def _show(path: str) -> str:
    return display(to_bytes(path))
