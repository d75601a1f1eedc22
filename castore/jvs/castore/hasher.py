"""TreeHasher: names a directory without storing anything, so that it can be compared with a snapshot read-only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from blake3 import blake3

from jvs.castore.chunking import Reader
from jvs.castore.digest import Digest
from jvs.castore.manifest import Page, decode_page
from jvs.castore.objects import ObjectStore
from jvs.castore.pages import NewPage
from jvs.castore.treesink import TreeSink

_BUFFER = 1 << 20


class TreeHasher(TreeSink):
    """A sink that keeps the pages it is given (metadata only; some 60 bytes per changed entry) and no content."""

    def __init__(self, objects: ObjectStore) -> None:
        super().__init__(objects)
        self._made: dict[Digest, bytes] = {}

    def put_page(self, page: NewPage, contents: Mapping[Digest, bytes], sources: Sequence[Digest]) -> None:
        """Keep the page."""
        self._made[page.digest] = page.data

    def stream(self, read: Reader) -> tuple[Digest, int]:
        """Hash the stream."""
        hasher = blake3()
        size = 0
        view = memoryview(bytearray(_BUFFER))
        while got := read(view):
            hasher.update(view[:got])
            size += got
        return hasher.digest(), size

    def made(self, digest: Digest) -> bytes | None:
        """The encoding of a page that was made here."""
        return self._made.get(digest)

    def page(self, digest: Digest) -> Page:
        """A page that was made here, or one of the store."""
        data = self._made.get(digest)
        return self.objects.page(digest) if data is None else decode_page(data)
