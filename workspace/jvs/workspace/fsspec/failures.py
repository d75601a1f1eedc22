"""Failures of jvs as those of a file system, which is what users of fsspec look out for."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from jvs.errors import (
    CollectedError,
    IntegrityError,
    JvsError,
    NoSpaceError,
    PurgedContentError,
    ReadOnlyError,
    UnknownError,
    UsageError,
)
from jvs.workspace.fsspec.locations import Location

_AS: tuple[tuple[type[JvsError], type[OSError], int], ...] = (
    (UnknownError, FileNotFoundError, errno.ENOENT),
    (CollectedError, FileNotFoundError, errno.ENOENT),
    (ReadOnlyError, PermissionError, errno.EROFS),
    (PurgedContentError, PermissionError, errno.EPERM),
    (NoSpaceError, OSError, errno.ENOSPC),
    (IntegrityError, OSError, errno.EIO),
    (UsageError, OSError, errno.EINVAL),
)


@contextmanager
def as_os_errors(path: str) -> Iterator[None]:
    """Raise what jvs raises about `path` as the OSError it is like, with the JvsError as its cause. A label that has
    moved, a conflict and a store that cannot be used are no failures of files, and stay what they are."""
    try:
        yield
    except JvsError as error:
        for kind, as_kind, number in _AS:
            if isinstance(error, kind):
                message = f"{error.message} (next: {error.next})" if error.next else error.message
                raise as_kind(number, message, path) from error
        raise


@contextmanager
def with_addresses(location: Location) -> Iterator[None]:
    """An OSError of a tree names a path inside it; let it name the address, which is what was asked about."""
    try:
        yield
    except OSError as error:
        for name in ("filename", "filename2"):
            inner = getattr(error, name)
            if isinstance(inner, str):
                setattr(error, name, location.name(inner.strip("/")))
        raise


def read_only(path: str, why: str) -> PermissionError:
    """What a write to something fixed raises."""
    return PermissionError(errno.EROFS, why, path)
