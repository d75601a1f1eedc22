"""Making a store's directory, and telling whether a directory is one."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from typing import Final

from jvs.castore.local import env, reserve
from jvs.castore.local.committed import SIZE as COMMITTED_SIZE
from jvs.castore.local.config import StoreConfig, encode_config
from jvs.castore.local.descriptors import sync_data, sync_directory
from jvs.castore.local.failures import os_error
from jvs.castore.local.mounts import network_filesystem
from jvs.castore.settings import StoreSettings
from jvs.errors import IntegrityError, JvsError, NoStoreError, StateError, StoreError

FORMAT_VERSION: Final = b"1\n"
CREATING: Final = "creating"
"""What `format_version` is called in a directory that is still being made."""


def make_store(path: str, settings: StoreSettings, also: Callable[[str], None] | None = None) -> bool:
    """Make a store in `path` (parents too); False, changing nothing, when it is one already. Raises JvsError.

    also: makes what else belongs in the directory; the store comes to be with it, or not at all.
    """

    def lay_out(path: str) -> None:
        _lay_out(path, settings)
        if also is not None:
            also(path)

    return make_marked(path, lay_out, check_filesystem)


def make_marked(path: str, lay_out: Callable[[str], None], check: Callable[[str], None] | None = None) -> bool:
    """Make a directory with a `format_version` in it (parents too); False, changing nothing, when it has one already.
    check: looks at the directory before anything is written into it.

    The file that becomes `format_version` is the first one written, as `creating`: a directory is a store from the
    moment of the last rename, and what an interrupted creation left is recognised and made anew. So `lay_out`, which
    makes all that is in it durable, may find remains of itself. Raises StateError (already-exists) for a directory
    with something else in it, and JvsError.
    """
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileExistsError, NotADirectoryError) as exc:
        raise StateError(f"{path} is not a directory") from exc
    except OSError as exc:
        raise os_error(exc, f"making {path}") from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        names = set(os.listdir(path))
        if "format_version" in names:
            return False
        if names and CREATING not in names:
            raise StateError(f"{path} is neither empty nor a store")
        if check is not None:
            check(path)
        _write(os.path.join(path, CREATING), FORMAT_VERSION)
        lay_out(path)
        os.fsync(lock)
        os.rename(os.path.join(path, CREATING), os.path.join(path, "format_version"))
        os.fsync(lock)
        sync_directory(os.path.dirname(path))
        return True
    except OSError as exc:
        raise os_error(exc, f"making a store in {path}") from exc
    finally:
        os.close(lock)


def _lay_out(path: str, settings: StoreSettings) -> None:
    for name in ("packs", "index"):
        os.makedirs(os.path.join(path, name), exist_ok=True)
    os.makedirs(os.path.join(path, "cache"), mode=0o700, exist_ok=True)
    _write(os.path.join(path, "config"), encode_config(StoreConfig(os.urandom(16).hex(), settings)))
    _write(os.path.join(path, "journal"), b"")
    _write(os.path.join(path, "committed"), bytes(COMMITTED_SIZE))
    env.initialise(os.path.join(path, "index"))
    reserve.make(path)


def _write(path: str, data: bytes) -> None:
    with open(path, "wb", buffering=0) as file:
        if file.write(data) != len(data):
            raise OSError(28, "No space left on device")
        sync_data(file.fileno())


def check_version(path: str) -> None:
    """Raises NoStoreError unless `path` holds a store, StoreError when a newer jvs made it."""
    try:
        with open(os.path.join(path, "format_version"), "rb") as file:
            version = file.read(64)
    except FileNotFoundError as exc:
        if os.path.isdir(path):
            raise NoStoreError(f"{path} is not a store", code="not-a-store") from exc
        raise NoStoreError(f"there is no store at {path}") from exc
    except NotADirectoryError as exc:
        raise NoStoreError(f"{path} is not a store", code="not-a-store") from exc
    except OSError as exc:
        raise os_error(exc, f"opening the store {path}") from exc
    if version != FORMAT_VERSION:
        raise _other_version(path, version)


def _other_version(path: str, version: bytes) -> JvsError:
    text = version.strip()
    if text.isdigit() and len(text) < 10 and int(text) > int(FORMAT_VERSION):
        return StoreError(f"{path} has store format {int(text)}, this jvs knows 1", code="format-unsupported")
    return IntegrityError(f"the file format_version of {path} is damaged", next="jvs doctor --repair")


def check_filesystem(path: str) -> None:
    """Raises StoreError (network-filesystem) where LMDB's locks and maps cannot be relied on."""
    kind = network_filesystem(path)
    if kind is not None:
        raise StoreError(f"{path} is on a network file system ({kind})", code="network-filesystem")
