"""TreeWriter: turns directories and file bytes into objects, and publishes them (DESIGN 4.2, 6).

The caller's thread hashes, cuts chunks and encodes pages (it needs their digests for the directory above). One writer
thread lays out small files, compresses, deduplicates and appends to the backend, in the order it was given; large
chunks are hashed and compressed by a small pool before it. Memory is bounded by the bytes in flight. A second thread
that compresses *parts* made pushes slower (the interpreter lock changes hands too often), for 1 MiB chunks it pays.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from blake3 import blake3

from jvs.castore.backend import Codec, Kind, Ref, Stored, WriteTxn
from jvs.castore.chunking import Chunker, Reader
from jvs.castore.codec import decode, encode
from jvs.castore.digest import Digest, file_digest, part_digest
from jvs.castore.layout import Place, encode_layout
from jvs.castore.manifest import File, small_files
from jvs.castore.names import display
from jvs.castore.objects import ObjectStore, check_object
from jvs.castore.pages import NewPage
from jvs.castore.purged import Guard
from jvs.castore.recipe import CHUNKS, Piece, build_recipe
from jvs.castore.treesink import DirectoryWriter, TreeSink
from jvs.errors import IntegrityError

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

T = TypeVar("T")

__all__ = ["DirectoryWriter", "Stats", "TreeSink", "TreeWriter"]

PART_SIZE = 256 << 10
"""Target size of a part in plain bytes; parts are cut at file boundaries."""
MAX_PARTS = 16
"""A page whose small files would lie in more parts than this, beyond what their bytes fill, is laid out anew."""
DEDUP_FILES = 262_144
"""How many small files of this push are remembered, so that copies in other directories are stored once."""
DEDUP_MIN = 128
"""Smaller files are not worth a run of their own in a layout."""
DEDUP_PARTS = 8
"""A new page borrows a few bytes from at most this many parts of other pages ..."""
DEDUP_SHARE = PART_SIZE // 8
"""... and this much or more from any number of them."""
BEHIND = 8 << 20
"""Bytes in flight beyond which the caller's thread packs and compresses small files itself: with two cores neither
thread then waits for the other."""
IN_FLIGHT = 64 << 20
"""Bytes handed to the writer thread and not yet written."""
PUBLISH_EVERY = 100_000
"""Objects after which what is complete is published, so that a huge push keeps bounded memory."""


class Stats(NamedTuple):
    """What a push added. new_bytes: plain bytes stored; stored_bytes: as encoded; objects: how many."""

    new_bytes: int
    stored_bytes: int
    objects: int

    def plus(self, other: Stats) -> Stats:
        """Both together."""
        return Stats(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class _Part(NamedTuple):
    """A part, encoded, and where in it each small file lies."""

    key: Digest
    stored: Stored
    offsets: Sequence[tuple[Digest, int]]


class _PageJob(NamedTuple):
    page: NewPage
    contents: Mapping[Digest, bytes]
    sources: Sequence[Digest]
    packed: Sequence[_Part]  # all of `contents`, when the caller's thread had time to pack them; else empty


class _ChunkJob(NamedTuple):
    future: Future[tuple[Piece, Stored | None]]
    pieces: list[Piece]


class _KnownJob(NamedTuple):
    piece: Piece
    pieces: list[Piece]


class _RecipeJob(NamedTuple):
    digest: Digest
    pieces: list[Piece]


_Job = _PageJob | _ChunkJob | _KnownJob | _RecipeJob


class _Jobs:
    """A first-in-first-out queue bounded by the bytes of its jobs."""

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._jobs: deque[tuple[_Job, int]] = deque()
        self._weight = 0
        self._busy = False
        self._closed = False
        self.error: BaseException | None = None

    def put(self, job: _Job, weight: int) -> None:
        """Append; waits while too many bytes are in flight. Raises the writer thread's failure."""
        with self._ready:
            while self._weight > IN_FLIGHT and self.error is None and not self._closed:
                self._ready.wait()
            self._check()
            self._jobs.append((job, weight))
            self._weight += weight
            self._ready.notify_all()

    @property
    def weight(self) -> int:
        """Bytes of the jobs that are not done."""
        return self._weight

    def drain(self) -> None:
        """Wait until everything put so far is done. Raises the writer thread's failure."""
        with self._ready:
            while (self._jobs or self._busy) and self.error is None and not self._closed:
                self._ready.wait()
            self._check()

    def _check(self) -> None:
        if self._closed:
            raise ValueError("this writer is closed")
        if self.error is not None:
            raise self.error

    def fail(self, error: BaseException) -> None:
        """The first failure is final: it is what every later call raises."""
        with self._ready:
            self.error = error
            self._busy = False
            self._jobs.clear()
            self._ready.notify_all()

    def close(self) -> None:
        """No more jobs; those not begun are dropped."""
        with self._ready:
            self._closed = True
            self._jobs.clear()
            self._ready.notify_all()

    def run(self, work: Callable[[_Job], None]) -> None:
        """Body of the writer thread."""
        while True:
            with self._ready:
                while not self._jobs and not self._closed:
                    self._ready.wait()
                if not self._jobs:
                    return
                job, weight = self._jobs.popleft()
                self._busy = True
            try:
                work(job)
            except BaseException as error:
                self.fail(error)
                return
            finally:
                del job  # its bytes are not in flight any more
            with self._ready:
                self._busy = False
                self._weight -= weight
                self._ready.notify_all()


class TreeWriter(TreeSink):
    """Writes the objects of one push. Use as a context manager; one caller's thread at a time."""

    def __init__(
        self, objects: ObjectStore, *, allow_purged: bool = False, level: int | None = None, verify: bool = False
    ) -> None:
        """allow_purged: also store what was purged (see `purged.Guard`). level: of compression, 0 for none (None: the
        store's). verify: before anything is published it is read back, and compared with its digest."""
        super().__init__(objects)
        self.guard = Guard(objects.backend, allow=allow_purged)
        self._level = objects.settings.zstd_level if level is None else level
        self._verify = verify
        self._writer = objects.backend.writer()
        self._chunker: Chunker | None = None
        self._jobs = _Jobs()
        self._alone = False
        self._pool: ThreadPoolExecutor | None = None
        self._thread: threading.Thread | None = None
        self._done: set[tuple[Kind, Digest]] = set()
        self._streamed: dict[Digest, Place] = {}
        self._dedup: dict[Digest, Place] = {}
        self._unpublished = 0
        self._new_bytes = self._stored_bytes = self._objects = 0

    # -- the caller's side -----------------------------------------------------------------------------------------

    def stream(self, read: Reader) -> tuple[Digest, int]:
        """Store a large file from a stream; (its digest, its size). An empty stream stores nothing."""
        if self._chunker is None:
            settings = self.objects.settings
            self._chunker = Chunker(settings.chunk_min, settings.chunk_avg, settings.chunk_max)
        return self.splice((chunk, None) for chunk in self._chunker.cut(read))

    def splice(self, cuts: Iterable[tuple[bytes, Piece | None]]) -> tuple[Digest, int]:
        """Store a large file of which some chunks are in the store; see `TreeSink.splice`."""
        hasher = blake3()
        size = 0
        pieces: list[Piece] = []
        for chunk, known in cuts:
            hasher.update(chunk)
            size += len(chunk)
            if known is None:
                self._put(_ChunkJob(self._chunk_pool().submit(self._encode_chunk, chunk), pieces), len(chunk))
            else:
                self._put(_KnownJob(known, pieces), 0)
        digest = hasher.digest()
        if size and digest not in self._streamed:
            self._put(_RecipeJob(digest, pieces), 0)
        return digest, size

    def put_page(self, page: NewPage, contents: Mapping[Digest, bytes], sources: Sequence[Digest]) -> None:
        """Hand one finished page to the writer thread, with the bytes of its new small files by digest, and the pages
        of the store in which its other files are found. Raises PurgedContentError."""
        self.guard.check(page.entries)
        behind = contents and self._jobs.weight > BEHIND
        packed = pack_parts(contents, self._level) if behind else ()
        self._put(_PageJob(page, contents, sources, packed), len(page.data) + sum(map(len, contents.values())))

    def work_alone(self) -> None:
        """From now on do everything on the caller's thread: for when another process keeps the other core busy, and
        threads here would only take turns."""
        self._jobs.drain()
        self._alone = True

    def publish(self, then: Callable[[WriteTxn], T] | None = None) -> T | None:
        """Make everything durable and visible, and run `then` in the last transaction; see `ObjectWriter.publish`.

        Raises CollectedError when content was purged since this writer was made: what it wrote may hold some.
        With `verify`, IntegrityError for what does not read as it was written: nothing of it is visible then."""
        self._jobs.drain()
        self._look_back()
        return self._writer.publish(None if then is None else self.guard.before(then))

    def flush(self) -> None:
        """Wait until everything given so far is written (not yet durable, not yet visible)."""
        self._jobs.drain()

    @property
    def stats(self) -> Stats:
        """What was added so far (complete after `publish`)."""
        return Stats(self._new_bytes, self._stored_bytes, self._objects)

    def close(self) -> None:
        """Stop the threads and give the pack back; what was not published is forgotten."""
        self._jobs.close()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        if self._thread is not None:
            self._thread.join()
        self._writer.close()

    def __enter__(self) -> TreeWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _put(self, job: _Job, weight: int) -> None:
        if self._alone and not isinstance(job, _ChunkJob):
            self._jobs.drain()
            try:
                self._work(job)
            except BaseException as error:
                self._jobs.fail(error)
                raise
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._jobs.run, args=(self._work,), name="jvs-writer", daemon=True)
            self._thread.start()
        self._jobs.put(job, weight)

    def _chunk_pool(self) -> ThreadPoolExecutor:
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor  # 6 ms that most pushes can do without

            self._pool = ThreadPoolExecutor(2, "jvs-chunk")
        return self._pool

    # -- the pool's side -------------------------------------------------------------------------------------------

    def _encode_chunk(self, chunk: bytes) -> tuple[Piece, Stored | None]:
        piece = Piece(file_digest(chunk), len(chunk))
        if not self._is_new(Kind.CHUNK, piece.digest):
            return piece, None
        return piece, encode(chunk, self._level, dense=True)

    # -- the writer thread's side ----------------------------------------------------------------------------------

    def _work(self, job: _Job) -> None:
        if isinstance(job, _PageJob):
            self._page(job)
        elif isinstance(job, _ChunkJob):
            piece, stored = job.future.result()
            job.pieces.append(piece)
            if stored is not None:
                self._store(Kind.CHUNK, piece.digest, stored)
        elif isinstance(job, _KnownJob):
            job.pieces.append(job.piece)
        else:
            self._recipe(job)
        if self._unpublished >= PUBLISH_EVERY:
            # children come before parents, so everything written so far may be published at any time; the index then
            # knows it, so that it need not be remembered here
            self._look_back()
            self._writer.publish()
            self._unpublished = 0
            self._done.clear()

    def _look_back(self) -> None:
        if self._verify:
            self._writer.read_back(lambda kind, key, stored: check_object(kind, key, decode(kind, stored)))

    def _is_new(self, kind: Kind, key: Digest) -> bool:
        return (kind, key) not in self._done and bool(self.objects.backend.missing(kind, (key,)))

    def _store(self, kind: Kind, key: Digest, stored: Stored, children: Sequence[Ref] = ()) -> None:
        if (kind, key) in self._done:
            return
        self._done.add((kind, key))
        self._writer.put(kind, key, stored, children)
        self._unpublished += 1
        self._objects += 1
        self._new_bytes += stored.size
        self._stored_bytes += len(stored.data)

    def _recipe(self, job: _RecipeJob) -> None:
        if len(job.pieces) == 1:
            self._streamed[job.digest] = Place(Kind.CHUNK, job.digest, 0)
            return
        self._streamed[job.digest] = Place(Kind.RECIPE, job.digest, 0)
        if not self._is_new(Kind.RECIPE, job.digest):
            return

        def leaf(digest: Digest, data: bytes, chunks: Sequence[Piece]) -> None:
            refs = [Ref(Kind.CHUNK, key) for key in dict.fromkeys(piece.digest for piece in chunks)]
            self._store(Kind.RECIPE, digest, encode(data, self._level), refs)

        data, recipe = build_recipe(job.pieces, leaf)
        below = Kind.CHUNK if recipe.tag == CHUNKS else Kind.RECIPE
        refs = [Ref(below, key) for key in dict.fromkeys(piece.digest for piece in recipe.pieces)]
        self._store(Kind.RECIPE, job.digest, encode(data, self._level), refs)

    def _page(self, job: _PageJob) -> None:
        page = job.page
        if not self._is_new(Kind.PAGE, page.digest):
            self._remember_existing(job)
            return
        children = [Ref(Kind.PAGE, digest) for digest in page.children]
        files = small_files(page.entries)
        if files:
            places = self._places(job, files)
            below = list(dict.fromkeys(Ref(place.kind, place.key) for place in places))
            layout = encode_layout(page.digest, files, places)
            self._store(Kind.LAYOUT, page.digest, Stored(Codec.RAW, len(layout), layout), below)
            children.append(Ref(Kind.LAYOUT, page.digest))
        self._store(Kind.PAGE, page.digest, encode(page.data, self._level), children)

    def _remember_existing(self, job: _PageJob) -> None:
        """A page that is in the store already still tells where copies of its files lie."""
        if job.contents and (Kind.PAGE, job.page.digest) not in self._done:
            for digest, place in self.objects.places(job.page.digest).items():
                if place.kind == Kind.PART and digest in job.contents:
                    self._remember(digest, place, len(job.contents[digest]))

    def _remember(self, digest: Digest, place: Place, size: int) -> None:
        if size >= DEDUP_MIN and len(self._dedup) < DEDUP_FILES:
            self._dedup[digest] = place

    def _places(self, job: _PageJob, files: Sequence[File]) -> list[Place]:
        """Where each of the page's non-empty files lies; what is not in the store yet is written in new parts."""
        known, contents = self._kept(job, files) if job.sources else ({}, job.contents)
        if self._streamed:
            known |= {f.digest: self._streamed[f.digest] for f in files if f.digest in self._streamed}
        wanted = {file.digest: file for file in files if file.digest not in known}
        if self._dedup.keys() & wanted.keys():
            known |= self._borrowed(wanted)
        try:
            fresh = {digest: contents[digest] for digest in wanted if digest not in known}
        except KeyError as error:
            name = display(wanted[error.args[0]].name)
            raise IntegrityError(f"the bytes of {name} are neither given nor in the store") from None
        packed = job.packed if job.packed and fresh.keys() == job.contents.keys() else pack_parts(fresh, self._level)
        for part in packed:
            if self._is_new(Kind.PART, part.key):
                self._store(Kind.PART, part.key, part.stored)
            remember = len(self._dedup) < DEDUP_FILES
            for digest, offset in part.offsets:
                known[digest] = place = Place(Kind.PART, part.key, offset)
                if remember and len(fresh[digest]) >= DEDUP_MIN:
                    self._dedup[digest] = place
        return [known[file.digest] for file in files]

    def _kept(self, job: _PageJob, files: Sequence[File]) -> tuple[dict[Digest, Place], Mapping[Digest, bytes]]:
        """(places of the files that lie in the source pages, bytes of those that are to be laid out): the new ones,
        and all small files of a page that has become too scattered, or whose parts are mostly dead for it."""
        wanted = {f.digest: f for f in files if f.digest not in job.contents and f.digest not in self._streamed}
        found: dict[Digest, tuple[Place, Digest]] = {}
        # of the pages that an edit read, the last ones are those this page was made of
        for source in dict.fromkeys(reversed(job.sources)):
            if len(found) == len(wanted):
                break
            for digest, place in self.objects.places(source).items():
                if digest in wanted:
                    found.setdefault(digest, (place, source))
        in_parts = {digest: item for digest, item in found.items() if item[0].kind == Kind.PART}
        parts = list(dict.fromkeys(place.key for place, _ in in_parts.values()))
        if not self._scattered(parts, sum(wanted[digest].size for digest in in_parts)):
            return {digest: place for digest, (place, _) in found.items()}, job.contents
        contents = dict(job.contents)
        for digest, (_, source) in in_parts.items():
            contents[digest] = self.objects.small_file(source, wanted[digest])
        return {digest: place for digest, (place, _) in found.items() if digest not in in_parts}, contents

    def _scattered(self, parts: Sequence[Digest], live: int) -> bool:
        if len(parts) <= 1:
            return False
        # two neighbouring parts hold more than PART_SIZE together, or they would be one
        if len(parts) > MAX_PARTS + 2 * live // PART_SIZE:
            return True
        size = sum(info.size for info in self.objects.backend.infos(Kind.PART, parts) if info is not None)
        return size > 2 * live + 2 * PART_SIZE

    def _borrowed(self, files: Mapping[Digest, File]) -> dict[Digest, Place]:
        """Places of copies of these files that this push has met elsewhere, out of as few parts as is worth it."""
        shares: dict[Digest, int] = {}
        copies: dict[Digest, Place] = {}
        for digest, file in files.items():
            if (copy := self._dedup.get(digest)) is not None:
                copies[digest] = copy
                shares[copy.key] = shares.get(copy.key, 0) + file.size
        ranked = sorted(shares, key=lambda part: shares[part], reverse=True)
        taken = {part for rank, part in enumerate(ranked) if rank < DEDUP_PARTS or shares[part] >= DEDUP_SHARE}
        return {digest: copy for digest, copy in copies.items() if copy.key in taken}


def pack_parts(contents: Mapping[Digest, bytes], level: int) -> list[_Part]:
    """Pack small files together, in the order given, into parts of about PART_SIZE, and encode them."""
    parts: list[_Part] = []
    for run in _part_runs(contents):
        data = b"".join([contents[digest] for digest in run])
        offsets: list[tuple[Digest, int]] = []
        offset = 0
        for digest in run:
            offsets.append((digest, offset))
            offset += len(contents[digest])
        parts.append(_Part(part_digest(data), encode(data, level), offsets))
    return parts


def _part_runs(contents: Mapping[Digest, bytes]) -> Iterator[list[Digest]]:
    run: list[Digest] = []
    size = 0
    for digest, data in contents.items():
        if run and size + len(data) > PART_SIZE:
            yield run
            run, size = [], 0
        run.append(digest)
        size += len(data)
    if run:
        yield run
