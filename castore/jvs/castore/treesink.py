"""What turns directories into pages: the half of a push that is the same whether anything is stored or not.

`treewriter.TreeWriter` stores what it is given; `hasher.TreeHasher` only names it (to compare a directory on disk with
a snapshot, read-only). Both see pages children first.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping, Sequence

from jvs.castore import pages
from jvs.castore.chunking import Reader
from jvs.castore.digest import Digest
from jvs.castore.manifest import INDEX, Entry, Page, Tree, small_files
from jvs.castore.objects import ObjectStore
from jvs.castore.pages import NewPage, PageCutter
from jvs.castore.recipe import Piece


class TreeSink(abc.ABC):
    """Takes directories and file bytes, and gives back the digests they have."""

    def __init__(self, objects: ObjectStore) -> None:
        self.objects = objects

    @abc.abstractmethod
    def put_page(self, page: NewPage, contents: Mapping[Digest, bytes], sources: Sequence[Digest]) -> None:
        """Take one finished page, with the bytes of its new small files by digest, and the pages of the store in
        which its other files are found."""

    @abc.abstractmethod
    def stream(self, read: Reader) -> tuple[Digest, int]:
        """Take a large file from a stream; (its digest, its size). An empty stream stores nothing."""

    def splice(self, cuts: Iterable[tuple[bytes, Piece | None]]) -> tuple[Digest, int]:
        """Take a large file from its chunks, in order, each with its name where the store is known to have it; (the
        file's digest, its size). For a file that was made from another one by an edit."""
        chunks = (memoryview(chunk) for chunk, _ in cuts)
        left = memoryview(b"")

        def read(buffer: memoryview) -> int:
            nonlocal left
            left = left or next(chunks, left)
            size = min(len(buffer), len(left))
            buffer[:size], left = left[:size], left[size:]
            return size

        return self.stream(read)

    def directory(self) -> DirectoryWriter:
        """A builder of one directory from its entries in name order."""
        return DirectoryWriter(self)

    def edit(
        self,
        base: Digest,
        changes: Mapping[bytes, Entry | None],
        contents: Mapping[Digest, bytes] | None = None,
        sources: Sequence[Digest] = (),
    ) -> Tree:
        """The directory `base` (in the store) with `changes`; reads and makes only the pages they touch.

        contents: bytes of new small files by their digest. sources: pages of the store in which the other new
        entries' files lie (a copy or move by reference); the pages of `base` that are read count as well.
        Raises IntegrityError for a file whose bytes are nowhere to be found.
        """
        given = contents or {}
        read: list[Digest] = list(sources)

        def reader(digest: Digest) -> Page:
            page = self.objects.page(digest)
            if page.tag != INDEX:
                read.append(digest)
            return page

        def emit(page: NewPage) -> None:
            files = small_files(page.entries)
            self.put_page(page, {file.digest: given[file.digest] for file in files if file.digest in given}, read)

        return pages.edit(reader, base, changes, emit)


class DirectoryWriter:
    """Builds one directory from its entries in name order; pages leave as soon as they are complete.

    Subdirectories are finished before their entry is added, so pages reach the store children first.
    """

    def __init__(self, writer: TreeSink) -> None:
        self._writer = writer
        self._cutter = PageCutter(self._emit)
        self._contents: dict[bytes, bytes] = {}
        self._sources: dict[bytes, Digest] = {}
        self.held = 0
        """Bytes of contents that wait for their page to be complete."""

    def add(self, entry: Entry, content: bytes | None = None, source: Digest | None = None) -> None:
        """The next entry. content: the bytes of a new small file. source: the page of the store in which a file that
        is already stored lies (large files given to `TreeWriter.stream` need neither)."""
        if content:
            self._contents[entry[0]] = content
            self.held += len(content)
        elif source is not None:
            self._sources[entry[0]] = source
        self._cutter.add(entry)

    def finish(self) -> Tree:
        """Emit what is left; the finished directory."""
        return self._cutter.finish()

    def _emit(self, page: NewPage) -> None:
        contents: dict[Digest, bytes] = {}
        sources: dict[Digest, None] = {}
        for file in small_files(page.entries):
            if (content := self._contents.pop(file.name, None)) is not None:
                contents[file.digest] = content
                self.held -= len(content)
            elif (source := self._sources.pop(file.name, None)) is not None:
                sources[source] = None
        self._writer.put_page(page, contents, tuple(sources))
