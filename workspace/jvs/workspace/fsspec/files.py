"""Open files of `jvs://`: Python's own buffered files over the overlay's, which know their file system.

A file that is read means one content from beginning to end, whatever its label does. What is written is pushed when
the file is closed (or, of a transaction, with that); a `with` block that is left by an exception pushes nothing.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol

from jvs.overlay.handles import OverlayFile

if TYPE_CHECKING:
    from jvs.workspace.fsspec.base import Base


class End(Protocol):
    """What becomes of a file."""

    def done(self, file: Any) -> None:
        """It was closed, and everything is written."""

    def dropped(self, file: Any) -> None:
        """It was closed, and nothing of it counts."""


HELD: Final = 1 << 17
"""Bytes of a file that is read as a whole when it is opened, so that nothing must be kept for it."""


class HeldBytes(io.BytesIO):
    """The bytes of a small file, as a raw file."""

    name = ""
    mode = "rb"


class ReadFile(io.BufferedReader):
    """A file that is read.

    fs, path, size  where it is, and its bytes
    fixed           the path of the very content that is read, whatever happens to the label; None for what is not
                    pushed yet
    """

    def __init__(
        self,
        fs: Base,
        path: str,
        raw: OverlayFile | HeldBytes,
        size: int,
        *,
        fixed: str | None,
        buffer: int,
        on_close: Callable[[], None],
    ) -> None:
        super().__init__(raw, buffer)
        self.fs = fs
        self.path = path
        self.size = size
        self.fixed = fixed
        self._on_close = on_close

    @property
    def full_name(self) -> str:
        """The URL."""
        return str(self.fs.unstrip_protocol(self.path))

    @property
    def details(self) -> dict[str, Any]:
        """As `fs.info`, of the content that is read."""
        return {**self.fs.info(self.fixed or self.path), "name": self.path}

    def info(self) -> dict[str, Any]:
        """As `details`."""
        return self.details

    def close(self) -> None:
        """Close; idempotent."""
        if not self.closed:
            try:
                super().close()
            finally:
                self._on_close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Where it is unpickled it is opened again, at the same position, on the same content."""
        return _reopened, (self.fs, self.fixed or self.path, self.tell())

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return self.__reduce__()


def _reopened(fs: Base, path: str, position: int) -> Any:
    file = fs.open(path, "rb")
    file.seek(position)
    return file


class _Written:
    """What files that are written have in common; goes before a class of `io`."""

    fs: Base
    path: str
    _end: End | None

    def settle(self, fs: Base, path: str, end: End) -> None:
        """Tell it what it belongs to."""
        self.fs, self.path, self._end = fs, path, end
        self._discarded = False

    def discard(self) -> None:
        """Close it, and push nothing."""
        self._discarded = True
        self.close()

    def close(self) -> None:
        """Write everything out, and push; idempotent."""
        if self.closed:  # type: ignore[attr-defined]
            return
        end, self._end = self._end, None  # what it belongs to is not kept by a file that is closed
        assert end is not None
        try:
            super().close()  # type: ignore[misc]
        except BaseException:
            end.dropped(self)
            raise
        if self._discarded:
            end.dropped(self)
        else:
            end.done(self)

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("a file that is being written cannot be pickled")


class WriteFile(_Written, io.BufferedWriter):
    """A file that is written, or appended to."""


class UpdateFile(_Written, io.BufferedRandom):
    """A file that is read and written."""


class TextFile(io.TextIOWrapper):
    """Text over one of the others: a `with` block that an exception leaves pushes nothing."""

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and isinstance(self.buffer, _Written):
            self.buffer.discard()
        self.close()
