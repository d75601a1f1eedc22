"""What hypothesis draws entries, directories and damaged bytes from."""

from __future__ import annotations

from hypothesis import strategies as st

from jvs.castore.digest import EMPTY_DIGEST
from jvs.castore.manifest import Directory, Entry, File, Symlink
from jvs.castore.names import is_valid_name

# Few letters, so that names are near one another, prefixes of one another, and met twice.
names = st.one_of(
    st.binary(min_size=1, max_size=3).filter(is_valid_name),
    st.text("ab.-\xe9", min_size=1, max_size=6).map(str.encode).filter(is_valid_name),
    st.binary(min_size=1, max_size=255).filter(is_valid_name),
)
digests = st.one_of(st.integers(0, 3).map(lambda n: bytes([n]) * 32), st.binary(min_size=32, max_size=32))
modes = st.one_of(st.sampled_from([0o644, 0o755, 0o400, 0o2755, 0o4755, 0, 0o7777]), st.integers(0, 0o7777))
sizes = st.one_of(st.sampled_from([1, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32]), st.integers(1, 2**50))


def entries_named(name: bytes) -> st.SearchStrategy[Entry]:
    """Any entry of that name."""
    files = st.builds(File, st.just(name), st.just(0), modes, sizes, digests)
    empty = st.builds(File, st.just(name), st.just(0), modes, st.just(0), st.just(EMPTY_DIGEST))
    below = st.integers(0, 2**40)
    directories = st.builds(Directory, st.just(name), st.just(1), modes, digests, below, below)
    targets = st.binary(min_size=1, max_size=40).filter(lambda target: 0 not in target)
    return st.one_of(files, empty, directories, st.builds(Symlink, st.just(name), st.just(2), targets))


def directories_of(max_size: int) -> st.SearchStrategy[list[Entry]]:
    """The entries of a directory, in name order."""
    return (
        st.lists(names, max_size=max_size, unique=True)
        .map(sorted)
        .flatmap(lambda found: st.tuples(*map(entries_named, found)).map(list))
    )


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """`data` with one to three small damages: bytes replaced, inserted, removed or repeated, or a bit flipped."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        upto = draw(st.integers(at, min(len(data), at + 8)))
        if draw(st.booleans()):
            data = data[:at] + draw(st.binary(max_size=4)) + data[upto:]
        elif draw(st.booleans()):
            data = data[:upto] + data[at:]
        elif at < len(data):
            data = data[:at] + bytes([data[at] ^ 1 << draw(st.integers(0, 7))]) + data[at + 1 :]
    return data
