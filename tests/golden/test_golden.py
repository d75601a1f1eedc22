"""Published ids. A change here is a change of the format: every snapshot anybody has would get another name.

There is no option that rewrites these values: whoever changes them has to mean it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from jvs.castore import digest
from jvs.castore.backend import Kind
from jvs.castore.hasher import TreeHasher
from jvs.castore.ingest.ingest import ingest
from jvs.castore.layout import Place, encode_layout
from jvs.castore.manifest import (
    EMPTY_PAGE,
    EMPTY_TREE,
    LEAF,
    SINGLE,
    Child,
    Directory,
    Entry,
    File,
    Symlink,
    Tree,
    encode_entries,
    encode_index,
)
from jvs.castore.memory import MemoryStore
from jvs.castore.objects import ObjectStore
from jvs.castore.recipe import CHUNKS, LEAVES, Piece, encode_recipe
from jvs.castore.settings import StoreSettings
from jvs.castore.treesink import TreeSink
from jvs.castore.treewriter import TreeWriter
from tests.castore.models import reader
from tests.golden.reference import tree_id
from tests.golden.tree import golden_tree, write_tree

CA_ID = "e4f953d807c963169632de2051e8cc2341bb3907e760c96ca08456773824a6ee"
ENTRIES = 1601
BYTES = 16582966

D = digest.file_digest(b"golden")
ROWS: list[Entry] = [
    File(b"a", 0, 0o644, 70_000, D),
    Directory(b"b", 1, 0o2755, D, 300, 2**33),
    Symlink(b"c", 2, b"../a"),
    File(b"\xff", 0, 0o400, 0, digest.EMPTY_DIGEST),
]
CHILDREN = [Child(b"m", D, 128, 300, 2**20), Child(b"z", D, 5, 5, 0)]


def put(sink: TreeSink, inline_limit: int, at: bytes = b"") -> Tree:
    """The golden tree, given to a sink entry by entry."""
    directory = sink.directory()
    rows: list[tuple[Entry, bytes | None]] = []
    for path, node in golden_tree().items():
        parent, _, name = path.rpartition(b"/")
        if parent != at:
            continue
        if isinstance(node, bytes):
            rows.append((Symlink(name, 2, node), None))
        elif isinstance(node, int):
            rows.append((Directory(name, 1, node, *put(sink, inline_limit, path)), None))
        elif len(node[1]) <= inline_limit:
            rows.append((File(name, 0, node[0], len(node[1]), digest.file_digest(node[1])), node[1]))
        else:
            file_digest, size = sink.stream(reader(node[1]))
            rows.append((File(name, 0, node[0], size, file_digest), None))
    for entry, content in sorted(rows):
        directory.add(entry, content)
    return directory.finish()


def test_the_id_of_the_golden_tree() -> None:
    objects = ObjectStore(MemoryStore(), StoreSettings())
    with TreeWriter(objects) as writer:
        tree = put(writer, 65_536)
        writer.publish()
    assert (tree.digest.hex(), tree.entries, tree.bytes) == (CA_ID, ENTRIES, BYTES)


@pytest.mark.parametrize(
    "settings",
    [StoreSettings(inline_limit=0, zstd_level=3), StoreSettings(4_096, 16_384, 65_536, 1_000)],
    ids=["nothing inlined", "small chunks"],
)
def test_the_id_is_the_same_in_every_store(settings: StoreSettings) -> None:
    with TreeWriter(ObjectStore(MemoryStore(settings), settings)) as writer:
        assert put(writer, settings.inline_limit).digest.hex() == CA_ID


def test_the_id_of_the_golden_tree_on_disk(tmp_path: Path) -> None:
    write_tree(tmp_path)
    objects = ObjectStore(MemoryStore(), StoreSettings())
    assert ingest(TreeHasher(objects), tmp_path).tree.digest.hex() == CA_ID


def test_the_id_follows_from_the_documentation_alone() -> None:
    found, entries, size = tree_id(golden_tree())
    assert (found.hex(), entries, size) == (CA_ID, ENTRIES, BYTES)


def test_the_empty_tree() -> None:
    assert EMPTY_PAGE.hex() == "920090"
    assert EMPTY_TREE.digest.hex() == "bcd3ac8a84577dc6b8a60395bf8a01f2a142894472c4396fb71a07a127fdbd63"


@pytest.mark.parametrize(
    ("encoded", "pinned", "digested", "pinned_digest"),
    [
        (
            encode_entries(SINGLE, ROWS),
            "92009495c4016100cd01a4ce00011170c42068ca9baf17c67ef7b4560a4455bacf8dbf296e2a8598fd98604d81532b9c"
            "218596c4016201cd05edc42068ca9baf17c67ef7b4560a4455bacf8dbf296e2a8598fd98604d81532b9c2185cd012ccf"
            "000000020000000093c4016302c4042e2e2f6195c401ff00cd010000c420af1349b9f5f9a1a6a0404dea36dcc9499bcb"
            "25c9adc112b7cc9a93cae41f3262",
            digest.page_digest,
            "c74140ff8bb90aebbeadc8d43424b1d720e3b4628ccc46efbc9baace68739f2d",
        ),
        (
            encode_entries(LEAF, ROWS),
            "92019495c4016100cd01a4ce00011170c42068ca9baf17c67ef7b4560a4455bacf8dbf296e2a8598fd98604d81532b9c"
            "218596c4016201cd05edc42068ca9baf17c67ef7b4560a4455bacf8dbf296e2a8598fd98604d81532b9c2185cd012ccf"
            "000000020000000093c4016302c4042e2e2f6195c401ff00cd010000c420af1349b9f5f9a1a6a0404dea36dcc9499bcb"
            "25c9adc112b7cc9a93cae41f3262",
            digest.page_digest,
            "e69dbd398fb06e8b6707335e98f38194551adf826ba9c61de62de81f1fd30ab8",
        ),
        (
            encode_index(1, CHILDREN),
            "9302019295c4016dc42068ca9baf17c67ef7b4560a4455bacf8dbf296e2a8598fd98604d81532b9c2185cc80cd012cce"
            "0010000095c4017ac42068ca9baf17c67ef7b4560a4455bacf8dbf296e2a8598fd98604d81532b9c2185050500",
            digest.page_digest,
            "e617a19c638046b3471950965bc26ff1ccd602e0cb49b76b126c609fd870079b",
        ),
        (
            encode_recipe(CHUNKS, [Piece(D, 1 << 20), Piece(D, 5)]),
            "9300c44068ca9baf17c67ef7b4560a4455bacf8dbf296e2a8598fd98604d81532b9c218568ca9baf17c67ef7b4560a44"
            "55bacf8dbf296e2a8598fd98604d81532b9c2185c41000000000001000000000000000000005",
            digest.recipe_digest,
            "6010e0eca295b9871a1380b982b17f98f464a1633c6f70a9eca86553bbe92898",
        ),
        (
            encode_recipe(LEAVES, [Piece(D, 2**33)]),
            "9301c42068ca9baf17c67ef7b4560a4455bacf8dbf296e2a8598fd98604d81532b9c2185c4080000000200000000",
            digest.recipe_digest,
            "ebab29525a304ef25d83efb0bc8ffd7374babfbe03cfbfc3d16e207594880ee5",
        ),
    ],
    ids=["single", "leaf", "index", "chunks", "leaves"],
)  # fmt: skip
def test_records_and_their_digests(
    encoded: bytes, pinned: str, digested: Callable[[bytes], bytes], pinned_digest: str
) -> None:
    assert encoded.hex() == pinned
    assert digested(encoded).hex() == pinned_digest


def test_a_layout_record() -> None:
    files = [File(b"%d" % size, 0, 0o644, size, digest.file_digest(b"%d" % size)) for size in (3, 4, 5, 6, 7)]
    places = [
        Place(Kind.PART, D, 0),
        Place(Kind.PART, D, 3),
        Place(Kind.CHUNK, files[2].digest, 0),
        Place(Kind.RECIPE, files[3].digest, 0),
        Place(Kind.PART, digest.EMPTY_DIGEST, 1_000),
    ]
    assert encode_layout(D, files, places).hex() == (
        "c5e1e74bae9df8a17b38335e61e9d06a94c44068ca9baf17c67ef7b4560a4455bacf8dbf296e2a8598fd98604d81532b"
        "9c2185af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262c420b3372b584dc0df6ce757fa"
        "43f459ca1f0c4180a08762cbfa41d022ca24f63d9fc420b748b4ebf53795686930b718fd46066df65694e910c9e647cd"
        "56c2b081b95732c430000000020000000200000000000000010000000000000000000000010000000100000000000000"
        "0100000003000003e8"
    )


@pytest.mark.parametrize(
    ("function", "pinned"),
    [
        ("file_digest", "68ca9baf17c67ef7b4560a4455bacf8dbf296e2a8598fd98604d81532b9c2185"),
        ("page_digest", "616794d9bdc4017c8ff034deeb3257d61ae8a625bde123b3651c088821761938"),
        ("part_digest", "76e9ce1558dd20783e4a1d411ae7ed7b15fc8ba8f919e86bf91d7b8eeacbaea3"),
        ("recipe_digest", "01fdd4799cb556007ce0feb1844a79116b6e6c9d603c6800fb353bf2ca38ec35"),
        ("layout_checksum", "b817fba469d496ce86af88293497f6116c4943881fcb67690d47f96d7019115e"),
        ("entry_digest", "7beeed8242080b59347015e374398931344cde18cf961587bdb9a78d1baf115d"),
        ("body_digest", "341ab8eb2df0c4b9c70dc00833c859edb10373c719cafa2e3286fa3c54b19685"),
        ("journal_digest", "9ab720a2cd344f8d1f1fc5d58b5c8f9c9f32b30bcf270644d2d9df18ac47f081"),
        ("check_digest", "9656d265e7e930e968ea8cce0f1d29e9a656d7d9a06783004d486c7566f07c04"),
        ("pack_checksum", "14954da8a2c742fa9827ee1d87bade7ba712cc519df0ff045eb2cdba8ec43498"),
    ],
)
def test_digests_of_the_same_bytes_as_each_kind(function: str, pinned: str) -> None:
    assert getattr(digest, function)(b"golden").hex() == pinned
