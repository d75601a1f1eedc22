"""Content-defined chunking: FastCDC v2020 by pyfastcdc.

Sizes are parameters of a store and never leak into ids (DESIGN 4.1). pyfastcdc falls back to pure Python when its
extension is missing, two hundred times slower; that is refused with a clear message instead.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

from jvs.errors import StoreError

Reader = Callable[[memoryview], int]
"""Fills the buffer it is given (or part of it) and returns how many bytes it wrote; 0 at the end."""


class Chunker:
    """Cuts byte streams at min/avg/max bytes. Not thread-safe. Keeps its buffer, so make one and use it for many
    streams: to get and clear a new one costs more than to cut a file of ordinary size."""

    def __init__(self, minimum: int, average: int, maximum: int) -> None:
        self.minimum = minimum
        self.maximum = maximum
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its fallback warning; refused just below instead
            from pyfastcdc import FastCDC
        if ".cy." not in FastCDC.__module__ + ".":
            raise StoreError(
                "pyfastcdc's compiled extension is missing; its pure-Python fallback is refused (200 times slower)",
                code="missing-extra",
                next="pip install --force-reinstall --only-binary :all: pyfastcdc",
            )
        self._cdc = FastCDC(average, min_size=minimum, max_size=maximum)
        self._spare: bytearray | None = None

    def cut(self, read: Reader) -> Iterator[bytes]:
        """Chunks of the stream, in order, as bytes of their own; nothing for an empty stream.

        Memory is bounded by a few maximum chunks. A cut depends on the bytes since the previous cut and at most
        `maximum` of them, so the buffer is only cut while that many lie ahead (or the stream has ended).
        """
        # taken for as long as this stream lasts: one begun before another is finished gets a buffer of its own
        buffer, self._spare = self._spare or bytearray(max(4 * self.maximum, 4 << 20)), None
        try:
            yield from self._cut(read, buffer)
        finally:
            self._spare = buffer

    def _cut(self, read: Reader, buffer: bytearray) -> Iterator[bytes]:
        size = len(buffer)
        view = memoryview(buffer)
        filled = 0
        ended = False
        while True:
            while filled < size and not ended:
                got = read(view[filled:])
                ended = got == 0
                filled += got
            start = 0
            if filled:
                for chunk in self._cdc.cut_buf(view[:filled]):
                    if not ended and filled - chunk.offset < self.maximum:
                        break
                    yield bytes(chunk.data)
                    start = chunk.offset + chunk.length
            if ended:
                return
            rest = filled - start
            view[:rest] = bytes(view[start:filled])
            filled = rest
