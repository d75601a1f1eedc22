"""Directories made, looked at and compared without a line of jvs: what acceptance tests hold the command against."""

from __future__ import annotations

import base64
import hashlib
import os
import random
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from blake3 import blake3

from tests.golden import reference

_BLOCK = 1 << 20


class Node(NamedTuple):
    """What one path is. content: hash of a file's bytes, or a symlink's target. size: of a file."""

    kind: str
    mode: int
    size: int
    content: bytes


Look: TypeAlias = dict[bytes, Node]


# -- looking -------------------------------------------------------------------------------------------------------


def look(directory: Path, algorithm: str = "sha256") -> Look:
    """Everything below a directory by path, read through descriptors, so that paths may be longer than the system's
    limit. algorithm: of hashlib, or `blake3`."""
    found: Look = {}
    top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _look(top, b"", algorithm, found)
    finally:
        os.close(top)
    return found


def _look(fd: int, above: bytes, algorithm: str, found: Look) -> None:
    for text in os.listdir(fd):
        name = os.fsencode(text)
        path = above + name
        info = os.stat(name, dir_fd=fd, follow_symlinks=False)
        mode = stat.S_IMODE(info.st_mode)
        if stat.S_ISLNK(info.st_mode):
            found[path] = Node("symlink", 0, 0, os.readlink(name, dir_fd=fd))
        elif stat.S_ISREG(info.st_mode):
            found[path] = Node("file", mode, info.st_size, _hash_file(name, fd, algorithm))
        elif stat.S_ISDIR(info.st_mode):
            found[path] = Node("directory", mode, 0, b"")
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            try:
                _look(below, path + b"/", algorithm, found)
            finally:
                os.close(below)
        else:
            found[path] = Node("special", stat.S_IFMT(info.st_mode), 0, b"")


def _hash_file(name: bytes, fd: int, algorithm: str) -> bytes:
    hasher: Any = blake3() if algorithm == "blake3" else hashlib.new(algorithm)
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=fd)
    try:
        while block := os.read(file, _BLOCK):
            hasher.update(block)
    finally:
        os.close(file)
    digest: bytes = hasher.digest()
    return digest


def differences(one: Mapping[bytes, Node], two: Mapping[bytes, Node]) -> list[str]:
    """What differs, in words, at most 20 of them: an assertion that shows two large looks would show nothing."""
    paths = sorted(path for path in one.keys() | two.keys() if one.get(path) != two.get(path))
    return [f"{path!r}: {one.get(path)} != {two.get(path)}" for path in paths[:20]]


def ordinary_bits(there: Look) -> Look:
    """What a pull makes of it without --special-modes: a file gets the nine permission bits, a directory also setgid
    and sticky."""
    masks = {"file": 0o777, "directory": 0o3777}
    return {path: node._replace(mode=node.mode & masks.get(node.kind, 0)) for path, node in there.items()}


def data_extents(path: Path) -> list[tuple[int, int]]:
    """The (start, end) of what is not a hole."""
    extents = []
    with open(path, "rb", buffering=0) as file:
        end, size = 0, os.fstat(file.fileno()).st_size
        while end < size:
            try:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError:  # ENXIO: nothing but a hole up to the end
                break
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            extents.append((start, end))
    return extents


def same_sparse_content(one: Path, two: Path) -> bool:
    """Whether two files have the same bytes, without reading what is a hole in both."""
    if one.stat().st_size != two.stat().st_size:
        return False
    with open(one, "rb") as first, open(two, "rb") as second:
        for start, end in data_extents(one) + data_extents(two):
            for offset in range(start, end, _BLOCK):
                first.seek(offset)
                second.seek(offset)
                length = min(_BLOCK, end - offset)
                if first.read(length) != second.read(length):
                    return False
    return True


def identity(there: Look) -> str:
    """The id in hex that a directory must get, looked at with `blake3`: by the second implementation of that."""
    below: dict[bytes, list[bytes]] = {b"": []}
    for path in sorted(there):
        below[path.rpartition(b"/")[0]].append(path)
        if there[path].kind == "directory":
            below[path] = []

    def totals(directory: bytes) -> reference.Totals:
        rows = []
        for path in below[directory]:
            node, name = there[path], path.rpartition(b"/")[2]
            entries, size = 1, node.size
            fields: tuple[bytes | int, ...] = (0, node.mode, size, node.content)
            if node.kind == "symlink":
                fields = (2, node.content)
            elif node.kind == "directory":
                digest, inside, size = totals(path)
                entries += inside
                fields = (1, node.mode, digest, inside, size)
            rows.append((name, _encoded((name, *fields)), entries, size))
        return reference.directory(sorted(rows))

    return totals(b"")[0].hex()


def _encoded(fields: tuple[bytes | int, ...]) -> bytes:
    return reference.array(
        [reference.number(field) if isinstance(field, int) else reference.binary(field) for field in fields]
    )


# -- making --------------------------------------------------------------------------------------------------------

AWKWARD = [
    b"-x",
    b"--json",
    b"-",
    b"new\nline",
    b"\n",
    b"carriage\rreturn\ttab",
    b"'single' and \"double\"",
    b"back\\slash",
    b"caf\xc3\xa9",  # one letter as UTF-8 knows it, and
    b"cafe\xcc\x81",  # the same letter made of two: two names
    b"\xff\xfe",
    b"latin-\xe9",
    b"\xed\xa0\x80",  # a surrogate, which UTF-8 forbids
    b" ",
    b"trailing ",
    b"*",
    b"$(false)",
    b"~",
    b"#",
    b"a:b@{2}",
    b"...",
    b".hidden",
    b"\x01\x7f",
    b"n" * 255,
]


def make_names(top: Path) -> None:
    """Awkward names of files, directories and symlinks, at the root and one level down."""
    root = os.fsencode(top)
    for number, name in enumerate(AWKWARD):
        write(root + b"/" + name, b"%d" % number)
        os.makedirs(root + b"/directories/" + name)
        write(root + b"/directories/" + name + b"/" + name, name)
    os.mkdir(root + b"/links")
    for name in AWKWARD:
        os.symlink(name, root + b"/links/" + name)


def make_empty(top: Path) -> None:
    """Empty files and directories, alone and in one another."""
    for path in ("file", "in/file", "in/of/file"):
        (top / path).parent.mkdir(exist_ok=True, parents=True)
        (top / path).touch()
    (top / "directory").mkdir()
    (top / "a/b/c/d").mkdir(parents=True)


def make_modes(top: Path) -> None:
    """A file of every mode from 0400 to 0777, and a directory of each that its owner can look into; one of 0400, too.

    Each directory holds a file, so that a pull has to write where mode bits forbid it."""
    for mode in range(0o400, 0o1000):
        write(top / f"f{mode:o}", b"%o" % mode, mode)
        if mode & 0o500 == 0o500:
            (top / f"d{mode:o}").mkdir()
            write(top / f"d{mode:o}" / "file", b"inside", 0o440)
            (top / f"d{mode:o}").chmod(mode)
    (top / "d400").mkdir()
    (top / "d400").chmod(0o400)
    (top / "closed/closed/closed").mkdir(parents=True)
    for path in ("closed/closed/closed", "closed/closed", "closed"):
        write(top / path / "file", b"read only", 0o400)
        (top / path).chmod(0o500)


def make_setgid(top: Path) -> None:
    """Directories with setgid and sticky bits, full and empty, one in another, read-only ones as well."""
    for mode in (0o2755, 0o2775, 0o2777, 0o2555, 0o1777, 0o3770, 0o3555):
        (top / f"d{mode:o}/below").mkdir(parents=True)
        write(top / f"d{mode:o}" / "file", b"inside")
        (top / f"d{mode:o}/below").chmod(mode)
        (top / f"d{mode:o}").chmod(mode)


def make_links(top: Path) -> None:
    """Symlinks that lead nowhere, away, up, to themselves, to directories; and two names of one file."""
    targets = [b"nowhere", b"/etc/passwd", b"/", b"/no/such/place", b"..", b".", b"../../../..", b"itself"]
    for number, target in enumerate([*targets, b"directory", b"-x", b"line\nbreak", b"\xff\xfe", b"t" * 4095]):
        os.symlink(target, top / f"link{number}")
    os.symlink("itself", top / "itself")
    (top / "directory").mkdir()
    write(top / "directory" / "file", b"behind a link")
    os.link(top / "directory" / "file", top / "hard")


BOUNDARIES = [
    *(65_535, 65_536, 65_537),  # the inline limit
    *(262_143, 262_144, 262_145),  # the least a chunk can be
    *((4 << 20) - 1, 4 << 20, (4 << 20) + 1),  # the most a chunk can be
]


def make_sizes(top: Path) -> None:
    """Files of the sizes where their storage changes, of noise and of zeros, and a few beside them."""
    rng = random.Random(2)
    for size in (0, 1, *BOUNDARIES):
        write(top / f"noise{size}", rng.randbytes(size))
        write(top / f"zeros{size}", bytes(size))
    write(top / "text", b"a line of text\n" * 20_000)
    write(top / "large", rng.randbytes(9 << 20))


DEPTH = 60


def make_deep(top: Path) -> None:
    """A path of 60 levels, whose names together are longer than any path may be."""
    fd = os.open(top, os.O_RDONLY)
    for level in range(DEPTH):
        write(b"file", b"%d" % level, fd=fd)
        name = b"level%02d-" % level + b"x" * 100
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    write(b"bottom", b"here", fd=fd)
    os.close(fd)


FEATURES = {
    "names": make_names,
    "empty": make_empty,
    "modes": make_modes,
    "setgid": make_setgid,
    "links": make_links,
    "sizes": make_sizes,
    "deep": make_deep,
}


def write(path: bytes | str | Path, data: bytes, mode: int = 0o644, *, fd: int | None = None) -> None:
    """A new file of exactly that mode, whatever the umask."""
    new = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=fd)
    with open(new, "wb", buffering=0) as file:
        left = memoryview(data)
        while left:
            left = left[file.write(left) :]
        os.fchmod(new, mode)


def make_many(directory: Path, count: int, content: bytes = b"%d\n") -> None:
    """`count` small files `file0000000`... in a new directory; each has its number in `content`, or exactly that."""
    directory.mkdir()
    fd = os.open(directory, os.O_RDONLY)
    for number in range(count):
        new = os.open(b"file%07d" % number, os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd)
        if content:
            os.write(new, content % number)
        os.close(new)
    os.close(fd)


def chown_all(directory: Path, user: int) -> None:
    """Give a directory and everything below it to a user and the group of the same number."""
    os.chown(directory, user, user)
    for _, directories, files, fd in os.fwalk(directory):
        for name in [*directories, *files]:
            mode = stat.S_IMODE(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)
            os.chown(name, user, user, dir_fd=fd, follow_symlinks=False)
            if mode & 0o6000:  # which chown takes away
                os.chmod(name, mode, dir_fd=fd)


# -- room ----------------------------------------------------------------------------------------------------------


@contextmanager
def room(tmp_path: Path, gigabytes: float) -> Iterator[Path]:
    """A directory for many files or large ones, removed afterwards: in memory if there is plenty, for making
    hundreds of thousands of files on a used disk takes anything up to minutes; else below `tmp_path`."""
    shared = Path("/dev/shm")
    above = shared if _has_room(shared, gigabytes) else tmp_path
    path = Path(tempfile.mkdtemp(prefix="jvs-test-", dir=above))
    try:
        yield path
    finally:
        remove(path)


def _has_room(path: Path, gigabytes: float) -> bool:
    try:
        free = os.statvfs(path)
        memory = Path("/proc/meminfo").read_text()
    except OSError:
        return False
    available = next((line.split()[1] for line in memory.splitlines() if line.startswith("MemAvailable:")), "0")
    wanted = gigabytes * (1 << 30)
    room = min(free.f_bavail * free.f_frsize, int(available) * 1024)
    return os.access(path, os.W_OK) and room > 2 * wanted


def remove(path: Path) -> None:
    """Remove a directory with everything below, whatever the modes are."""
    if os.geteuid() != 0:
        for _, directories, _, fd in os.fwalk(path):
            for name in directories:
                if not stat.S_ISLNK(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                    os.chmod(name, 0o700, dir_fd=fd)
    shutil.rmtree(path)


def in_bytes(rows: Iterable[Mapping[str, Any]], field: str = "path") -> list[bytes]:
    """A field that holds names, as bytes, out of a list in jvs's JSON; null as b""."""
    return [
        base64.b64decode(row[f"{field}_b64"]) if f"{field}_b64" in row else (row[field] or "").encode() for row in rows
    ]
