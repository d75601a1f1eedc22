"""Laying pages out anew, so that parts in which something dead lies can go (DESIGN 4.2, 6 rule 1).

A part holds the bytes of many small files, and stays as long as one page needs one of them. To be rid of the others its
pages get new layouts, over new parts that hold nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from jvs.castore.backend import Backend, Codec, Kind, Ref, Stored
from jvs.castore.batches import batched
from jvs.castore.digest import Digest
from jvs.castore.gc.mark import Step
from jvs.castore.layout import Place, encode_layout
from jvs.castore.manifest import small_files
from jvs.castore.objects import ObjectStore
from jvs.castore.treewriter import pack_parts
from jvs.errors import MissingChildrenError, MissingObjectError

BATCH: Final = 128
"""Pages that are published together ..."""
BATCH_BYTES: Final = 32 << 20
"""... or as many as have so many bytes to be moved."""
ROUNDS: Final = 20
"""How often a page is tried whose layout somebody else replaces at the same time."""


def riddled(objects: ObjectStore, pages: Iterable[Digest], step: Step) -> set[Digest]:
    """The parts that the layouts of these pages lead to and in which there is more than their files.

    pages: those that stay; each has a layout, or is passed over. Memory: a few numbers for each part, and for each gap
    between files that are not listed next to one another.
    """
    covered: dict[Digest, list[tuple[int, int]]] = {}
    for number, page in enumerate(pages):
        try:
            files = small_files(objects.page(page).entries)
            places = objects.layout(page).places(files) if files else []
        except MissingObjectError:
            continue  # collected meanwhile
        for file, place in zip(files, places, strict=True):
            if place.kind == Kind.PART:
                runs = covered.setdefault(place.key, [])
                if runs and runs[-1][1] == place.offset:
                    runs[-1] = (runs[-1][0], place.offset + file.size)
                else:
                    runs.append((place.offset, place.offset + file.size))
                    if len(runs) > 64 and not len(runs) % 64:
                        runs[:] = _merged(runs)
        if not number % 256:
            step(number)
    found: set[Digest] = set()
    for keys in batched(covered, 1024):
        for key, info in zip(keys, objects.backend.infos(Kind.PART, keys), strict=True):
            if info is not None and _merged(covered[key]) != [(0, info.size)]:
                found.add(key)
    return found


def relayout(
    objects: ObjectStore, pages: Iterable[Digest], parts: set[Digest], level: int, step: Callable[[int], None]
) -> int:
    """Give those of these pages whose layouts lead to one of `parts` new ones that do not; how many it were.

    level: of compression. A file that several pages have in such parts is moved once. Pages that go meanwhile are
    passed over. Raises IntegrityError for one whose files cannot be read.
    """
    moved: dict[Digest, Place] = {}
    concerned = (page for page in pages if _concerned(objects, page, parts))
    done = 0
    for batch in batched(concerned, BATCH):
        waiting = batch
        for _ in range(ROUNDS):
            try:
                _replace(objects, waiting, parts, level, moved)
            except MissingChildrenError:
                moved.clear()  # a part that only a page needed that was collected since
            objects.forget()
            waiting = [page for page in waiting if _concerned(objects, page, parts)]
            if not waiting:
                break
        done += len(batch) - len(waiting)
        step(done)
    return done


def _concerned(objects: ObjectStore, page: Digest, parts: set[Digest]) -> bool:
    try:
        return not parts.isdisjoint(objects.layout(page).parts)
    except MissingObjectError:
        return False


def _replace(
    objects: ObjectStore, pages: list[Digest], parts: set[Digest], level: int, moved: dict[Digest, Place]
) -> None:
    store = objects.backend
    with store.writer() as writer:
        size = 0
        for page in pages:
            # the number first: a layout that is newer than the number it is said to replace is not replaced
            seq = _layout_seq(store, page)
            try:
                files = small_files(objects.page(page).entries)
                places = objects.layout(page).places(files)
            except MissingObjectError:
                continue
            if seq is None:
                continue
            leaving = {
                file.digest: file
                for file, place in zip(files, places, strict=True)
                if place.kind == Kind.PART and place.key in parts and file.digest not in moved
            }
            contents = {digest: objects.small_file(page, file) for digest, file in leaving.items()}
            for part in pack_parts(contents, level):
                writer.put(Kind.PART, part.key, part.stored)
                moved |= {digest: Place(Kind.PART, part.key, offset) for digest, offset in part.offsets}
            fresh = [
                moved[file.digest] if place.kind == Kind.PART and place.key in parts else place
                for file, place in zip(files, places, strict=True)
            ]
            layout = encode_layout(page, files, fresh)
            below = list(dict.fromkeys(Ref(place.kind, place.key) for place in fresh))
            writer.replace_layout(page, seq, Stored(Codec.RAW, len(layout), layout), below)
            size += sum(map(len, contents.values()))
            if size > BATCH_BYTES:
                writer.publish()
                size = 0
        writer.publish(lambda _: None)


def _layout_seq(store: Backend, page: Digest) -> int | None:
    with store.read() as txn:  # type: ignore[attr-defined]  # every backend that keeps anything has tables
        seq: int | None = txn.layout_seq(page)
    return seq


def _merged(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same bytes as runs that do not touch one another, in order."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(runs):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged
