"""docs/manifests.md says what jvs does: its examples, constants and contexts are compared with the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from blake3 import blake3

from jvs.castore import digest, layout, manifest, pages, recipe, treewriter
from jvs.castore.backend import Kind
from jvs.castore.digest import file_digest, page_digest, part_digest
from jvs.castore.layout import Place, encode_layout
from jvs.castore.manifest import EMPTY_TREE, Directory, File, Symlink, decode_page, encode_entries
from jvs.castore.recipe import CHUNKS, Piece, decode_recipe, encode_recipe
from jvs.castore.settings import StoreSettings
from tests.golden.test_golden import BYTES, CA_ID, ENTRIES

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "manifests.md").read_text()
BLOCKS = dict(re.findall(r"^<!-- checked: (\w+) -->\n```text\n(.*?)^```$", TEXT, re.M | re.S))

HELLO = b"hello\n"
FILE = File(b"a", 0, 0o644, 6, file_digest(HELLO))
PAGE = encode_entries(manifest.SINGLE, [FILE, Directory(b"d", 1, 0o755, *EMPTY_TREE), Symlink(b"l", 2, b"a")])


def shown(name: str) -> bytes:
    """The bytes of a block, without the explanations."""
    return bytes.fromhex(re.sub(r"#.*", "", BLOCKS[name]))


def test_every_checked_block_is_checked_here() -> None:
    assert BLOCKS.keys() == {"page", "id", "layout", "recipe", "boundaries", "golden"}
    assert TEXT.count("```text") == len(BLOCKS)


def test_the_page() -> None:
    assert shown("page") == PAGE
    assert decode_page(shown("page")).entries[0] == FILE
    assert shown("id") == page_digest(PAGE)


def test_the_layout() -> None:
    place = Place(Kind.PART, part_digest(HELLO), 0)
    assert shown("layout") == encode_layout(page_digest(PAGE), [FILE], [place])
    assert layout.decode_layout(page_digest(PAGE), shown("layout")).places([FILE]) == [place]


def test_the_recipe() -> None:
    pieces = (Piece(file_digest(b"one"), 3), Piece(file_digest(b"two!"), 4))
    assert shown("recipe") == encode_recipe(CHUNKS, pieces)
    assert decode_recipe(shown("recipe")).pieces == pieces


def test_the_boundaries() -> None:
    for line in BLOCKS["boundaries"].splitlines():
        name, hashed, *levels = line.split()
        assert blake3(name.encode()).digest()[:8].hex() == hashed
        found = [str(level) for level in range(9) if pages.is_boundary(name.encode(), level)]
        assert (found or ["none"]) == levels


def test_the_golden_tree() -> None:
    assert BLOCKS["golden"].strip() == CA_ID
    assert f"({ENTRIES:,} entries, {BYTES:,} bytes)" in TEXT


def test_the_constants() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", TEXT, re.M)
    assert {name: int(value) for name, value in rows} == {
        name: getattr(pages, name) for name in ("MAX_SINGLE", "MAX_RUN", "MIN_INDEX", "_BITS", "MAX_LEVEL")
    }


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("up to the store's inline limit, {:,} bytes", StoreSettings().inline_limit),
        ("parts of about {:,} bytes", treewriter.PART_SIZE),
        ("v2020; {:,} / ", StoreSettings().chunk_min),
        (" / {:,} / ", StoreSettings().chunk_avg),
        (" / {:,} bytes at least", StoreSettings().chunk_max),
        ("the pieces are chunks, 1 to {:,} of them", recipe.MAX_CHUNKS),
        ("at most\n  {:,}, each", recipe.MAX_LEAVES),
        ("a multiple of {:,}", recipe._LEAF_MASK + 1),
        ("and after {:,} chunks", recipe.MAX_CHUNKS),
        ("`checksum ({} bytes)", layout._CHECKSUM),
        ("`target` is 1 to {:,} bytes", 4_095),
        ("level 1 to {}", manifest.MAX_LEVEL),
    ],
)
def test_the_numbers_in_the_text(what: str, value: int) -> None:
    assert what.format(value) in TEXT


def test_the_contexts() -> None:
    functions = {
        "page": digest.page_digest,
        "part": digest.part_digest,
        "recipe leaf": digest.recipe_digest,
        "layout (its checksum)": digest.layout_checksum,
    }
    rows = dict(re.findall(r"^\| ([a-z() ]+) \| `(jvs [^`]+)` \|", TEXT, re.M))
    assert rows.keys() == functions.keys()
    for name, context in rows.items():
        assert functions[name](b"x") == blake3(b"x", derive_key_context=context).digest()
