"""What a directory is bound to: the record of its last pull or push, and the lock that keeps two of them apart.

One small checksummed file per directory in `STORE/cache/directories/`, named after the directory's real path, device
and inode (a directory that was moved or copied is another one; one that was made anew too, unless the file system gave
it the same inode). `cache/` is derived and may be deleted at any time: the directory is then unbound, and a pull takes
nothing in it for saved. (The record of a repository's worktree is truth and lies elsewhere: `read` and `write` take
any file.) Nothing is ever written into the directory itself; its lock is a flock on the directory's own
descriptor, which no deletion of `cache/` takes away.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgpack
from blake3 import blake3

from jvs.castore.digest import DIGEST_SIZE, Digest, keyed
from jvs.castore.local.descriptors import sync_data, sync_directory
from jvs.castore.names import display, to_bytes
from jvs.errors import LockedError, StoreError

_FORMAT = 1
_FIELDS = 7
"""Of the first records. The directory's path, for whoever lists all of them, comes after those; then `detached`."""
_MAX_RECORD = 64 << 20
_checksum = keyed("jvs 2026-11 directory binding v1")

_TRIES = 3

LOCK_SECONDS = 2.0
"""How long a second pull or push of one directory waits for the first."""


class Loosened(NamedTuple):
    """An existing directory that a running pull gave u+rwx to. mode: the one it had, to be given back."""

    path: bytes
    mode: int


@dataclass(frozen=True)
class Pending:
    """A pull that has begun to write. target: where it goes; token: in the name of all that it leaves lying about."""

    target: Digest
    token: str
    loosened: tuple[Loosened, ...] = ()


@dataclass(frozen=True)
class Binding:
    """What a directory was last pulled or pushed as.

    label, generation, ca_id, entry_id
        the label's head then (label None: a detached push or a pull of a bare id). ca_id None: never bound, a first
        pull was interrupted.
    pending
        set while a pull writes, so also after one that was killed: paths equal to the pending target are not unsaved.
    unapplied
        path -> permission bits of the snapshot that the directory's file system or the pull's policy did not let be
        (setuid, say): a file that still has the bits it was left with counts as having these.
    detached
        of a worktree: it stands at a save point that is not the newest of `label` on purpose, so nothing may be saved
        from here; `generation` and `entry_id` are then that save point's.
    """

    label: str | None
    generation: int
    ca_id: Digest | None
    entry_id: Digest | None = None
    pending: Pending | None = None
    unapplied: Mapping[bytes, UnappliedMode] = field(default_factory=dict)
    detached: bool = False


class UnappliedMode(NamedTuple):
    """disk: the permission bits the pull left; wanted: those of the snapshot."""

    disk: int
    wanted: int


def directory_key(directory: str | bytes) -> str:
    """32 hex digits that name a directory by real path, device and inode. Raises OSError when there is none."""
    real = os.path.realpath(to_bytes(directory) if isinstance(directory, str) else directory)
    return key_at(real, os.stat(real))


def key_at(real: bytes, info: os.stat_result) -> str:
    """The `directory_key` of the directory whose stat is `info`, when it is at the real path `real`."""
    return blake3(msgpack.packb((real, info.st_dev, info.st_ino))).hexdigest()[:32]


def load(cache: str, directory: str | bytes) -> Binding | None:
    """The binding of `directory`, or None when there is none, or none that can be believed.

    cache: the store's `cache` directory.
    """
    return read(record_file(cache, directory))


def save(cache: str, directory: str | bytes, binding: Binding) -> None:
    """Record `binding`, replacing the one before; see `write`."""
    file = record_file(cache, directory)
    os.makedirs(os.path.dirname(file), exist_ok=True)
    write(file, directory, binding)


def read(file: str) -> Binding | None:
    """The binding recorded in `file`, or None when there is none, or none that can be believed."""
    body = _read(file)
    return None if body is None else _decode(body)


def write(file: str, directory: str | bytes, binding: Binding, *, durable: bool = False) -> None:
    """Record in `file` the binding of `directory`, replacing the one before, by temp file and rename. Raises OSError.

    durable: it is on the disk when this returns. Else, after a power cut, the directory may be bound as it was before,
    or not at all; both only make the next pull more careful.
    """
    body = _encode(binding, os.path.realpath(to_bytes(directory) if isinstance(directory, str) else directory))
    replace_file(file, _checksum(body) + body, durable=durable)


def clear(cache: str, directory: str | bytes) -> bool:
    """Unbind `directory`; whether it was bound."""
    try:
        os.unlink(record_file(cache, directory))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def replace_file(path: str, data: bytes, *, mode: int = 0o666, durable: bool = True) -> None:
    """Make `path` a file with these bytes, at once or not at all, by temp file and rename. Raises OSError.

    durable: it is on the disk when this returns.
    """
    for left in reversed(range(_TRIES)):
        try:
            _replace_file(path, data, mode, durable)
        except FileNotFoundError:  # somebody who tidies up took the temp file for a leftover, perhaps
            if not left:
                raise
        else:
            return


def _replace_file(path: str, data: bytes, mode: int, durable: bool) -> None:
    temp = f"{path}.{os.urandom(8).hex()}.tmp"
    try:
        with open(os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                sync_data(file.fileno())
        os.replace(temp, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temp)
        raise
    if durable:
        sync_directory(os.path.dirname(path))


def _read(path: str) -> bytes | None:
    """A record whose checksum is right, or None."""
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_RECORD + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if len(data) > _MAX_RECORD or len(data) < DIGEST_SIZE or _checksum(data[DIGEST_SIZE:]) != data[:DIGEST_SIZE]:
        return None
    return data[DIGEST_SIZE:]


@contextmanager
def lock(
    directory: str | bytes, wait: float = LOCK_SECONDS, waiting: Callable[[], None] | None = None
) -> Iterator[None]:
    """Hold `directory` for one pull or push; raises LockedError after `wait` seconds, OSError when there is none.
    waiting: called now and then while it waits; may raise.

    Released by closing the descriptor, never by LOCK_UN, which in a forked child would free the parent's lock.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise LockedError(f"another jvs command is at work in {display(os.fsencode(directory))}") from None
                if waiting is not None:
                    waiting()
                time.sleep(0.02)
            except OSError as error:
                raise StoreError(
                    f"the file system of {display(os.fsencode(directory))} cannot lock a directory: {error.strerror}"
                ) from error
        yield
    finally:
        os.close(fd)


def record_file(cache: str, directory: str | bytes) -> str:
    """Where the binding of a directory is that is no worktree."""
    return os.path.join(cache, "directories", f"{directory_key(directory)}.binding")


def bound(cache: str) -> Iterator[tuple[bytes, Binding]]:
    """(path, binding) of every bound directory that is still the one that was bound."""
    folder = os.path.join(cache, "directories")
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".binding"))
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        body = _read(os.path.join(folder, name))
        path = None if body is None else _path_in(body)
        try:
            still = path is not None and f"{directory_key(path)}.binding" == name
        except OSError:
            continue
        if still and body is not None and path is not None and (binding := _decode(body)) is not None:
            yield path, binding


def _path_in(body: bytes) -> bytes | None:
    """Where the directory was; None in a record that was written before that was noted."""
    try:
        raw = msgpack.unpackb(body, use_list=False, max_array_len=len(body), max_map_len=0)
        path = raw[_FIELDS]
    except (ValueError, TypeError, IndexError, msgpack.UnpackException):
        return None
    return path if isinstance(path, bytes) and b"\0" not in path else None


def _encode(binding: Binding, path: bytes) -> bytes:
    pending = binding.pending
    data: bytes = msgpack.packb(
        (
            _FORMAT,
            binding.label,
            binding.generation,
            binding.ca_id,
            binding.entry_id,
            None if pending is None else (pending.target, pending.token, pending.loosened),
            [(name, *modes) for name, modes in binding.unapplied.items()],
            path,
            binding.detached,
        )
    )
    return data


def _decode(data: bytes) -> Binding | None:
    """The record in `data`, whose checksum was right; None when another version of jvs wrote it."""
    try:
        raw: Any = msgpack.unpackb(data, use_list=False, max_array_len=len(data), max_map_len=0)
        version, label, generation, ca_id, entry_id, pending, unapplied = raw[:_FIELDS]
        detached = len(raw) > _FIELDS + 1 and raw[_FIELDS + 1] is True
        if version != _FORMAT:
            return None
        if pending is not None:
            target, token, loosened = pending
            pending = Pending(target, token, tuple(Loosened(*item) for item in loosened))
        modes = {path: UnappliedMode(disk, wanted) for path, disk, wanted in unapplied}
    except (ValueError, TypeError, msgpack.UnpackException):
        return None
    return Binding(label, generation, ca_id, entry_id, pending, modes, detached)
