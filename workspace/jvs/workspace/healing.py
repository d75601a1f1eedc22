"""Putting back what is damaged or lost, and setting aside what cannot be.

Whatever a repair puts back enters the store as a push would put it there, or takes the place of a damaged record as a
collector's copy does; so it is safe beside everybody, and may be killed anywhere: the next one goes on. In this order:

* *the same bytes*: what still gives the object's digest is written anew, and its row in the index moves there. Nothing
  is ever missing meanwhile;
* *the files*: a page whose layout is damaged, or leads to a part that is, is laid out anew with those files that are
  still to be had; the others keep their place. A large file is cut into chunks again;
* *given up*: what is left is taken out of the index and recorded as lost, so that gc can go on beside it. Its bytes
  stay in `quarantine`. A later repair, or a push that has the content, brings it back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from blake3 import blake3

from jvs.castore.backend import Codec, Kind, Ref, Stored, WriteTxn, object_name
from jvs.castore.chunking import Chunker
from jvs.castore.codec import MAX_SIZE, decode, encode
from jvs.castore.digest import Digest, file_digest, recipe_digest
from jvs.castore.gc.marks import is_lost
from jvs.castore.layout import Place, decode_layout, encode_layout
from jvs.castore.local.pack import HEADER
from jvs.castore.local.quarantine import record_at, salvage, set_aside
from jvs.castore.local.rebuild import UNKNOWN_HEIGHT
from jvs.castore.local.tables import ObjectRow
from jvs.castore.manifest import File, decode_page, small_files
from jvs.castore.objects import check_object, object_children, page_children
from jvs.castore.purged import is_purged
from jvs.castore.recipe import CHUNKS, Piece, build_recipe, decode_recipe
from jvs.castore.treewriter import pack_parts
from jvs.castore.verify import check_stored
from jvs.errors import IntegrityError, MissingChildrenError
from jvs.labels.store import wall_clock
from jvs.workspace.sources import PackSource, Source, StoreSource

if TYPE_CHECKING:
    from jvs.castore.local.txn import LocalWriteTxn
    from jvs.castore.local.writer import LocalWriter
    from jvs.workspace.repo import Repo

JOURNAL_OP: Final = "repair"
_BATCH: Final = 256
_BATCH_BYTES: Final = 16 << 20
_READ: Final = 1 << 20


class Healed(NamedTuple):
    """What a repair did. mended: objects that are back; laid_out: pages laid out anew; lost: given up, now or before,
    and not back; kept: files in the quarantine; sources: where bytes came from, and how often."""

    mended: set[Ref]
    laid_out: set[Digest]
    lost: set[Ref]
    kept: list[str]
    sources: Counter[str]


class _InFile(NamedTuple):
    """Where a chunk lies in a large file."""

    file: Digest
    size: int
    offset: int
    length: int


class Healer:
    """One repair of the objects of a store.

    others  other places to look in: other stores, directories
    """

    def __init__(self, repo: Repo, others: Sequence[Source]) -> None:
        self._repo = repo
        self._store = repo.store
        self._objects = repo.objects
        self._others = others
        self._sources: list[Source] = []
        self._bad: dict[Ref, ObjectRow | None] = {}
        """What is to be put back, and the row that leads to damage (None: there is no row)."""
        self._pages_of: dict[Digest, list[Digest]] = {}
        """Bad parts, and layouts by their page -> the pages to be laid out anew."""
        self._holders: dict[Digest, list[_InFile]] = {}
        self._sizes: dict[Digest, int] = {}
        """Of large files that are bad."""
        self._rests: dict[Digest, bytes] = {}
        """What is left of damaged parts."""
        self._fresh: set[Ref] = set()
        """What was put and is not published yet."""
        self._missing: set[Ref] = set()
        """What something that was put back names, and may not be there."""
        self._done = Healed(set(), set(), set(), [], Counter())

    def heal(self, refs: Iterable[Ref]) -> Healed:
        """Put back what can be of these objects, which something needs, and give up the others. Objects that are sound
        are left alone."""
        self._objects.forget()
        self._find_bad(refs)
        if self._bad:
            own = StoreSource("another place in this store", self._objects, self._bad.keys())
            self._sources = [PackSource(self._store.packs_path, self._bad.keys()), own, *self._others]
            self._put_back_same(self._same)
            self._look_around()
            self._put_back_same(self._in_files)
            for page in self._to_lay_out():
                self._lay_out(page)
            self._give_up(list(self._bad))
            self._put_back_large()
            self._put_back_pages()
            self._bad.update(dict.fromkeys(self._absent(self._missing)))
            self._give_up(list(self._bad))
            self._objects.forget()
        return self._done._replace(lost=set(self._bad))

    # -- what is wrong

    def _find_bad(self, refs: Iterable[Ref]) -> None:
        with self._store.read() as txn:
            rows = {ref: txn.object_row(object_name(*ref)) for ref in refs}
        for ref, row in rows.items():
            if row is None or not self._is_sound(ref):
                self._bad[ref] = row

    def _is_sound(self, ref: Ref) -> bool:
        """Whether an object that is in the index is what it must be. What is below it may not be."""
        try:
            plain = check_stored(self._objects, ref)
            if ref.kind == Kind.LAYOUT:
                return self._layout_holds(ref.key, plain)
            return ref.kind != Kind.RECIPE or self._recipe_holds(ref.key, plain) is not False
        except IntegrityError:
            return False

    def _layout_holds(self, page: Digest, plain: bytes) -> bool:
        """Whether a layout fits its page and leads to its files; the parts it leads to may be damaged."""
        try:
            files = small_files(self._objects.page(page).entries)
        except IntegrityError:
            return True  # nobody can say
        for file, place in zip(files, decode_layout(page, plain).places(files), strict=True):
            if place.kind == Kind.PART:
                try:
                    part = check_stored(self._objects, Ref(Kind.PART, place.key))
                except IntegrityError:
                    continue
                if not _gives(part[place.offset : place.offset + file.size], file):
                    return False
        return True

    def _recipe_holds(self, key: Digest, plain: bytes) -> bool | None:
        """Whether a recipe gives its file; None when that cannot be known, since its chunks cannot be read."""
        recipe = decode_recipe(plain)
        if recipe.tag == CHUNKS and recipe_digest(plain) == key:
            return True
        hasher = blake3()
        try:
            for _, piece in self._objects.pieces(recipe):
                hasher.update(self._objects.chunk(piece))
        except IntegrityError:
            return None
        return hasher.digest() == key

    # -- where it may still be

    def _look_around(self) -> None:
        """Find out which pages and files need what is bad, and where else those files are."""
        wanted: dict[Digest, None] = {}
        chunks = {ref.key for ref in self._bad if ref.kind == Kind.CHUNK}
        for page in self._objects.backend.keys(Kind.PAGE):
            try:
                files = small_files(self._objects.page(page).entries)
            except IntegrityError:
                continue
            for file, place in zip(files, self._places(page, files), strict=True):
                if place is None:
                    self._pages_of.setdefault(page, []).append(page)
                    wanted[file.digest] = None
                    self._sizes[file.digest] = file.size
                elif Ref(place.kind, place.key) in self._bad:
                    wanted[file.digest] = None
                    self._sizes[file.digest] = file.size
                    if place.kind == Kind.PART:
                        self._pages_of.setdefault(place.key, []).append(page)
                    elif place.kind == Kind.CHUNK:
                        self._holders.setdefault(file.digest, []).append(_InFile(file.digest, file.size, 0, file.size))
        for recipe in self._objects.backend.keys(Kind.RECIPE) if chunks else ():
            for held in self._held(recipe, chunks):
                wanted[held.file] = None
        for source in self._sources:
            source.look_for(wanted.keys())

    def _places(self, page: Digest, files: Sequence[File]) -> Sequence[Place | None]:
        """Where the layout of a page says that its files are; None where it cannot be asked."""
        layout = Ref(Kind.LAYOUT, page)
        if files and layout not in self._bad:
            try:
                return self._objects.layout(page).places(files)
            except IntegrityError:
                pass
        return [None] * len(files)

    def _held(self, recipe: Digest, chunks: Collection[Digest]) -> Iterator[_InFile]:
        """The places of these chunks in a large file, which are noted."""
        try:
            pieces = list(self._objects.chunks(recipe))
        except IntegrityError:
            return
        size, offset = sum(piece.length for piece in pieces), 0
        for piece in pieces:
            if piece.digest in chunks:
                held = _InFile(recipe, size, offset, piece.length)
                self._holders.setdefault(piece.digest, []).append(held)
                yield held
            offset += piece.length

    # -- the same bytes

    def _put_back_same(self, find: Callable[[Ref], bytes | None]) -> None:
        """Write anew what is still somewhere byte for byte: in place of a damaged record, or into the index again."""
        for kind in (Kind.CHUNK, Kind.PART, Kind.RECIPE, Kind.LAYOUT, Kind.PAGE):
            batch: list[tuple[ObjectRow, Kind, Digest, Stored]] = []
            for ref in [ref for ref in self._bad if ref.kind == kind]:
                plain = find(ref)
                if plain is None:
                    continue
                stored = self._encoded(ref.kind, plain)
                row = self._bad[ref]
                if row is None:
                    self._insert(ref, stored, object_children(*ref, plain))
                else:
                    self._keep(ref, row)
                    batch.append((row, *ref, stored))
                    if len(batch) == _BATCH or sum(len(item[3].data) for item in batch) > _BATCH_BYTES:
                        self._mend(batch)
                        batch = []
            self._mend(batch)
        self._objects.forget()

    def _replace(self, ref: Ref, stored: Stored) -> None:
        """Let these bytes take the place of an object without children."""
        row = self._bad[ref]
        if row is None:
            self._insert(ref, stored, ())
        else:
            self._keep(ref, row)
            self._mend([(row, *ref, stored)])

    def _encoded(self, kind: Kind, plain: bytes) -> Stored:
        if kind == Kind.LAYOUT:
            return Stored(Codec.RAW, len(plain), plain)
        return encode(plain, self._objects.settings.zstd_level, dense=kind == Kind.CHUNK)

    def _mend(self, batch: Sequence[tuple[ObjectRow, Kind, Digest, Stored]]) -> None:
        if batch:
            refs = [Ref(kind, key) for _, kind, key, _ in batch]
            with self._store.writer() as writer:
                writer.mend(batch, self._noting("mended", refs))
            self._is_back(refs)

    def _insert(self, ref: Ref, stored: Stored, children: Sequence[Ref]) -> None:
        """Put what is in no row; not when something below it is missing."""
        note = self._noting("restored", [ref])
        lone = ref.kind == Kind.LAYOUT and self._absent([Ref(Kind.PAGE, ref.key)])
        if lone or self._absent(children) or self._has_unknown_height(children):
            return
        try:
            with self._store.writer() as writer:
                if ref.kind == Kind.LAYOUT:
                    writer.insert_layout(ref.key, stored, children, note)
                else:
                    writer.put(*ref, stored, children)
                    writer.publish(note)
        except MissingChildrenError:
            return  # swept meanwhile
        self._is_back([ref])

    def _is_back(self, refs: Iterable[Ref]) -> None:
        for ref in refs:
            del self._bad[ref]
            self._done.mended.add(ref)

    def _has_unknown_height(self, children: Iterable[Ref]) -> bool:
        """Whether a page above these would be as high as one that is above it: collectors go by falling heights. So a
        page comes back only where everything below it is there, and all that is above it was placed above that."""
        with self._store.read() as txn:
            infos = [txn.info(*child) for child in children]
        return any(info is not None and info.height > UNKNOWN_HEIGHT for info in infos)

    def _absent(self, refs: Iterable[Ref]) -> set[Ref]:
        with self._store.read() as txn:
            return {ref for ref in refs if txn.object_row(object_name(*ref)) is None}

    def _same(self, ref: Ref) -> bytes | None:
        """The plain bytes of an object, from wherever they are."""
        row = self._bad[ref]
        if row is not None and (plain := self._own(ref, row)) is not None:
            self._done.sources["its own record"] += 1
            return plain
        for source in self._sources:
            plain = source.object(ref)
            if plain is not None and self._is_it(ref, plain):
                self._done.sources[source.name] += 1
                return plain
        return None

    def _in_files(self, ref: Ref) -> bytes | None:
        """The bytes of a chunk, from a file that has it; a recipe, whose chunks may be back by now."""
        if ref.kind == Kind.RECIPE:
            return self._same(ref)
        for held in self._holders.get(ref.key, ()) if ref.kind == Kind.CHUNK else ():
            for source in self._sources:
                data = source.read(*held)
                if data is not None and self._is_it(ref, data):
                    self._done.sources[source.name] += 1
                    return data
        return None

    def _own(self, ref: Ref, row: ObjectRow) -> bytes | None:
        """What a damaged record itself gives: all of it where only its header is damaged."""
        raw = record_at(self._store, row)
        if len(raw) != HEADER + row.stored:
            return None
        try:
            plain = decode(ref.kind, Stored(Codec(row.codec), row.size, raw[HEADER:]))
        except IntegrityError:
            return None
        return plain if self._is_it(ref, plain) else None

    def _is_it(self, ref: Ref, plain: bytes) -> bool:
        """Whether these bytes are the object, to be put where the store has what is below it; not what was purged."""
        if len(plain) > MAX_SIZE[ref.kind]:
            return False
        try:
            check_object(ref.kind, ref.key, plain)
            if self._is_purged(ref, plain):
                return False
            if ref.kind == Kind.LAYOUT:
                return self._layout_holds(ref.key, plain) and not self._absent(object_children(*ref, plain))
            if ref.kind == Kind.RECIPE:
                return self._recipe_holds(ref.key, plain) is True
        except IntegrityError:
            return False
        return True

    def _is_purged(self, ref: Ref, plain: bytes) -> bool:
        files = small_files(decode_page(plain).entries) if ref.kind == Kind.PAGE else ()
        with self._store.read() as txn:
            return any(is_purged(txn, digest) for digest in (ref.key, *(file.digest for file in files)))

    # -- the files

    def _to_lay_out(self) -> Iterator[Digest]:
        """Pages whose layouts lead nowhere, or to parts that are still bad."""
        bad = [ref.key for ref in self._bad if ref.kind in (Kind.PART, Kind.LAYOUT)]
        return iter(dict.fromkeys(page for key in bad for page in self._pages_of.get(key, ())))

    def _lay_out(self, page: Digest) -> None:
        """Give a page a layout that leads to what is there of its files."""
        files = small_files(self._objects.page(page).entries)
        with self._store.read() as txn:
            row = txn.object_row(object_name(Kind.LAYOUT, page))
        before = self._places(page, files)
        with self._store.writer() as writer:
            after = self._find_places(writer, files, before)
            if list(before) == after:
                return
            if row is not None and Ref(Kind.LAYOUT, page) in self._bad:
                self._keep(Ref(Kind.LAYOUT, page), row)
            layout = encode_layout(page, files, after)
            stored = Stored(Codec.RAW, len(layout), layout)
            below = [Ref(place.kind, place.key) for place in after]
            note = self._noting("laid out", [Ref(Kind.LAYOUT, page)])
            try:
                if row is None:
                    writer.publish()
                    writer.insert_layout(page, stored, self._present(below), note)
                else:
                    writer.replace_layout(page, row.seq, stored, self._present(below))
                    writer.publish(note)
            except MissingChildrenError:
                return  # swept meanwhile
            finally:
                self._fresh.clear()
        self._done.laid_out.add(page)
        self._bad.pop(Ref(Kind.LAYOUT, page), None)
        self._missing.update(below)

    def _find_places(self, writer: LocalWriter, files: Sequence[File], before: Sequence[Place | None]) -> list[Place]:
        """Where each file is; small ones that are found elsewhere are put into new parts, large ones cut anew."""
        found: dict[Digest, Place] = {}
        contents: dict[Digest, bytes] = {}
        for file, place in zip(files, before, strict=True):
            if place is not None and Ref(place.kind, place.key) not in self._bad:
                found[file.digest] = place
                continue
            stands = [kind for kind in (Kind.CHUNK, Kind.RECIPE) if self._stands(Ref(kind, file.digest))]
            if stands:
                found[file.digest] = Place(stands[0], file.digest, 0)
            elif file.size > self._objects.settings.chunk_max:
                there = self._cut_anew(file.digest, file.size)
                found[file.digest] = place if place is not None and not there else Place(Kind.RECIPE, file.digest, 0)
            elif (data := self._content(file, place)) is not None:
                contents[file.digest] = data
            else:
                found[file.digest] = place or Place(Kind.CHUNK, file.digest, 0)
        for part in pack_parts(contents, self._objects.settings.zstd_level):
            ref = Ref(Kind.PART, part.key)
            if ref in self._bad:  # all of its files were found: it is what it was
                self._replace(ref, part.stored)
            else:
                writer.put(*ref, part.stored)
                self._fresh.add(ref)
            found |= {digest: Place(Kind.PART, part.key, offset) for digest, offset in part.offsets}
        return [found[file.digest] for file in files]

    def _stands(self, ref: Ref) -> bool:
        return ref not in self._bad and not self._absent([ref])

    def _content(self, file: File, place: Place | None) -> bytes | None:
        """The bytes of a small file, from wherever they are; not of one that was purged."""
        with self._store.read() as txn:
            if is_purged(txn, file.digest):
                return None
        if place is not None and place.kind == Kind.PART:
            data = self._rest(place.key)[place.offset : place.offset + file.size]
            if _gives(data, file):
                self._done.sources["its own record"] += 1
                return data
        for source in self._sources:
            found = source.read(file.digest, file.size, 0, file.size)
            if found is not None and _gives(found, file):
                self._done.sources[source.name] += 1
                return found
        return None

    def _rest(self, part: Digest) -> bytes:
        """What can still be decoded of a damaged part; some of it may be wrong."""
        if part not in self._rests:
            row = self._bad.get(Ref(Kind.PART, part))
            self._rests[part] = b"" if row is None else salvage(self._store, row, MAX_SIZE[Kind.PART])
        return self._rests[part]

    def _cut_anew(self, digest: Digest, size: int) -> bool:
        """Put a large file that is found elsewhere; whether it is there now. Not one that was purged."""
        with self._store.read() as txn:
            if is_purged(txn, digest):
                return False
        for source in self._sources:
            settings, at = self._objects.settings, 0

            def read(view: memoryview, source: Source = source) -> int:
                nonlocal at
                data = source.read(digest, size, at, min(len(view), _READ, size - at)) or b""
                view[: len(data)] = data
                at += len(data)
                return len(data)

            hasher, pieces = blake3(), []
            with self._store.writer() as own:
                for chunk in Chunker(settings.chunk_min, settings.chunk_avg, settings.chunk_max).cut(read):
                    hasher.update(chunk)
                    pieces.append(Piece(file_digest(chunk), len(chunk)))
                    ref = Ref(Kind.CHUNK, pieces[-1].digest)
                    if ref in self._bad:
                        self._replace(ref, self._encoded(Kind.CHUNK, bytes(chunk)))
                    elif self._absent([ref]):
                        own.put(*ref, self._encoded(Kind.CHUNK, bytes(chunk)))
                if at != size or hasher.digest() != digest:
                    continue
                if self._bad.get(Ref(Kind.RECIPE, digest)) is not None:
                    self._give_up([Ref(Kind.RECIPE, digest)])  # its name must be free
                self._put_recipe(own, digest, pieces)
                try:
                    own.publish(self._noting("restored", [Ref(Kind.RECIPE, digest)]))
                except MissingChildrenError:
                    continue
                if Ref(Kind.RECIPE, digest) in self._bad:
                    self._is_back([Ref(Kind.RECIPE, digest)])
                self._done.sources[source.name] += 1
                return True
        return False

    def _put_recipe(self, writer: LocalWriter, digest: Digest, pieces: Sequence[Piece]) -> None:
        def put(key: Digest, data: bytes, below: Kind, children: Sequence[Piece]) -> None:
            refs = list(dict.fromkeys(Ref(below, piece.digest) for piece in children))
            writer.put(Kind.RECIPE, key, self._encoded(Kind.RECIPE, data), refs)

        def leaf(key: Digest, data: bytes, chunks: Sequence[Piece]) -> None:
            put(key, data, Kind.CHUNK, chunks)

        data, recipe = build_recipe(pieces, leaf)
        put(digest, data, Kind.CHUNK if recipe.tag == CHUNKS else Kind.RECIPE, recipe.pieces)

    # -- giving up, and what may come back after that

    def _give_up(self, refs: Sequence[Ref]) -> None:
        """Take what is still damaged of these out of the index, and record what is not there as lost."""
        for ref in refs:
            row = self._bad[ref]
            if row is not None:
                self._keep(ref, row)
        at_ms = wall_clock()
        for start in range(0, len(refs), _BATCH):
            batch = refs[start : start + _BATCH]
            with self._store.write() as txn:
                gone = [ref for ref in batch if self._take_out(txn, object_name(*ref), self._bad[ref], at_ms)]
                if gone:
                    self._noting("given up", gone)(txn)
            self._bad.update(dict.fromkeys(batch))

    def _take_out(self, txn: LocalWriteTxn, name: bytes, row: ObjectRow | None, at_ms: int) -> bool:
        """Whether an object is gone that was not recorded as lost yet."""
        now = txn.object_row(name)
        if now is not None:
            if row is None or (now.pack, now.offset) != (row.pack, row.offset):
                return False  # somebody has put it back
            txn.remove(name)
        elif is_lost(txn, name):
            return False
        txn.marks.lost(name, at_ms)
        return True

    def _put_back_large(self) -> None:
        """Cut large files anew whose recipes are lost."""
        for ref in [ref for ref in self._bad if ref.kind == Kind.RECIPE]:
            size = self._sizes.get(ref.key)
            if size is not None:
                self._cut_anew(ref.key, size)

    def _put_back_pages(self) -> None:
        """Put pages back whose children went with them, children first."""
        order, plains = self._lost_trees()
        files = {file.digest for digest in order for file in small_files(decode_page(plains[digest]).entries)}
        for source in self._sources if files else ():
            source.look_for(files)
        for digest in order:
            self._put_back_page(digest, plains[digest])

    def _lost_trees(self) -> tuple[list[Digest], dict[Digest, bytes]]:
        """Lost pages that are to be had, and what is missing below them, children first; their bytes."""
        order: list[Digest] = []
        plains: dict[Digest, bytes] = {}
        stack = [(ref.key, False) for ref in self._bad if ref.kind == Kind.PAGE]
        while stack:
            digest, done = stack.pop()
            if done:
                order.append(digest)
            elif digest not in plains and (plain := self._same(Ref(Kind.PAGE, digest))) is not None:
                plains[digest] = plain
                stack.append((digest, True))
                below = [ref for ref in object_children(Kind.PAGE, digest, plain) if ref.kind == Kind.PAGE]
                for ref in self._absent(below):
                    self._bad.setdefault(ref, None)
                    stack.append((ref.key, False))
        return order, plains

    def _put_back_page(self, digest: Digest, plain: bytes) -> None:
        page, layout = Ref(Kind.PAGE, digest), Ref(Kind.LAYOUT, digest)
        decoded = decode_page(plain)
        files = small_files(decoded.entries)
        children = [ref for ref in page_children(digest, decoded) if ref != layout]
        if self._absent(children) or self._has_unknown_height(children):
            self._missing.update(children)
            return
        with self._store.writer() as writer:
            if files and not self._stands(layout):
                places = self._find_places(writer, files, [None] * len(files))
                encoded = encode_layout(digest, files, places)
                below = [Ref(place.kind, place.key) for place in places]
                writer.put(*layout, Stored(Codec.RAW, len(encoded), encoded), self._present(below))
                self._missing.update(below)
            writer.put(*page, self._encoded(Kind.PAGE, plain), children + [layout] * bool(files))
            try:
                writer.publish(self._noting("restored", [page]))
            except MissingChildrenError:
                return  # swept meanwhile
            finally:
                self._fresh.clear()
        self._is_back([page])
        self._bad.pop(layout, None)

    # -- keeping, and noting

    def _present(self, refs: Iterable[Ref]) -> list[Ref]:
        """Those that are there (or were just put by this repair), each once."""
        wanted = list(dict.fromkeys(refs))
        absent = self._absent(wanted) - self._fresh
        return [ref for ref in wanted if ref not in absent]

    def _keep(self, ref: Ref, row: ObjectRow) -> None:
        raw = record_at(self._store, row)
        if raw:
            self._done.kept.append(set_aside(self._store, object_name(*ref), raw))

    def _noting(self, did: str, refs: Sequence[Ref]) -> Callable[[WriteTxn], None]:
        """What records a step in the journal. refs: at most _BATCH."""
        names = [object_name(*ref) for ref in refs]

        def note(txn: WriteTxn) -> None:
            txn.journal(JOURNAL_OP, {"did": did, "objects": names}, {"actor": self._repo.actor})

        return note


def _gives(data: bytes, file: File) -> bool:
    return len(data) == file.size and file_digest(data) == file.digest
