"""Named locks as flocked files in the store's folder `locks` (see `backend.Locks`)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from jvs.castore.local.descriptors import Descriptor
from jvs.castore.local.failures import os_error
from jvs.errors import StoreError

if TYPE_CHECKING:
    from jvs.castore.local.store import LocalStore

_NAME_SIZE: Final = 16


class FileLock:
    """A `backend.Lock`: its file exists and is flocked for as long as it is held."""

    def __init__(self, name: str, path: str, file: Descriptor) -> None:
        self.name = name
        self._path = path
        self._file = file

    def linked(self) -> bool:
        """Whether the locked file is still the one of that name."""
        return os.fstat(self._file.fd).st_nlink > 0

    def release(self) -> None:
        """See `backend.Lock`. The file goes while the lock on it is still held, so that nobody takes a file that is
        about to go."""
        if self._file.fd >= 0 and self.linked():
            with contextlib.suppress(OSError):  # whoever takes it next removes it
                os.unlink(self._path)
        self._file.close()


class FileLocks:
    """A `backend.Locks`. Nothing of a lock needs to be durable: after a power cut every holder is gone."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self._directory = os.path.join(store.path, "locks")

    def hold(self) -> FileLock:
        """See `backend.Locks`."""
        self._store.check_usable(writing=True)
        while (lock := self._linked(lambda: self._take(os.urandom(_NAME_SIZE).hex(), os.O_EXCL))) is None:
            pass
        return lock

    def take(self, name: str) -> FileLock | None:
        """See `backend.Locks`."""
        self._store.check_usable(writing=True)
        if len(name) != 2 * _NAME_SIZE or name.strip("0123456789abcdef"):
            raise StoreError(f"not the name of a lock: {name!r}")
        return self._linked(lambda: self._take(name, 0))

    def _linked(self, take: Callable[[], FileLock | None]) -> FileLock | None:
        """What `take` returns, taken again when its file went between its opening and its locking."""
        while True:
            lock = take()
            if lock is None or lock.linked():
                return lock
            lock.release()

    def _take(self, name: str, flags: int) -> FileLock | None:
        path = os.path.join(self._directory, name)
        try:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            file = Descriptor(path, os.O_RDWR | os.O_CREAT | flags, 0o600)
        except OSError as exc:
            raise os_error(exc, f"locking {path}") from exc
        if not file.lock(wait=False):
            file.close()
            return None
        return FileLock(name, path, file)

    def names(self) -> list[str]:
        """Of every lock file that lies about, held or left behind."""
        try:
            return sorted(os.listdir(self._directory))
        except FileNotFoundError:
            return []
