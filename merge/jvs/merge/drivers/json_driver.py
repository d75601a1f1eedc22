"""The driver for JSON: by key, with the formatting kept (docs/merge-drivers.md)."""

from __future__ import annotations

from typing import Final

from jvs.merge.content import Contents, Merged, Options
from jvs.merge.drivers.giveup import GiveUp
from jvs.merge.drivers.json_merge import JsonMerge, Piece
from jvs.merge.drivers.json_text import Document, read_value
from jvs.merge.drivers.weave import layout

_SUFFIXES: Final = (b".json", b".geojson", b".webmanifest", b".topojson", b".avsc", b".har")
_SPACE: Final = b" \t\r\n"


class JsonDriver:
    """Merges JSON by key. A conflict is a JSON pointer; the merged text has ours in its place, since there is no room
    for markers in JSON."""

    name = "json"
    max_size = 4 << 20

    def suits(self, path: bytes, contents: Contents) -> bool:
        """By name, or when every side starts and ends with the brackets of an object or of an array."""
        return path.lower().endswith(_SUFFIXES) or all(_looks_like_json(side) for side in contents if side is not None)

    def merge(self, path: bytes, contents: Contents, options: Options) -> Merged | None:
        """See `content.MergeDriver`."""
        documents = read_sides(contents)
        return merge_documents(self.name, documents, JsonMerge(options.prefer))


def read_sides(contents: Contents) -> tuple[Document | None, Document, Document]:
    """The three texts; raises GiveUp with the side that cannot be read."""
    return (
        _read("base", contents.base) if contents.base is not None else None,
        _read("ours", contents.ours),
        _read("theirs", contents.theirs),
    )


def merge_documents(name: str, documents: tuple[Document | None, Document, Document], merge: JsonMerge) -> Merged:
    """Merge three documents by `merge`; the text is believed only when it reads as the value it was made for."""
    base, ours, theirs = documents
    piece = merge.node((), base.root if base is not None else None, ours.root, theirs.root)
    lead = layout(base.lead if base is not None else None, ours.lead, theirs.lead) or ""
    tail = layout(base.tail if base is not None else None, ours.tail, theirs.tail) or ""
    _check(piece)
    data = "".join([lead, piece.text, tail]).encode()
    return Merged(data, tuple(merge.conflicts), tuple(merge.settled), name)


def _check(piece: Piece) -> None:
    if read_value(piece.text) != piece.value:
        raise GiveUp("the merged text does not read as the merged value")


def _read(side: str, data: bytes) -> Document:
    try:
        return Document(data)
    except GiveUp as reason:
        raise GiveUp(f"{side}: {reason}") from None


def _looks_like_json(data: bytes) -> bool:
    """By the first and the last byte, and a little space around them."""
    return data[:256].lstrip(_SPACE)[:1] + data[-256:].rstrip(_SPACE)[-1:] in (b"{}", b"[]")
