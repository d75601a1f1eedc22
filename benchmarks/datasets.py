"""Data sets of the benchmarks: made from a seed, the same bytes on every machine.

Three kinds of tree, after what people version: many small text files (`make_small`), a few large ones
(`make_big`) and an installed Python and Node dependency tree (`make_mixed`, real packages fetched by name). The
edits that a benchmark pushes afterwards (`edit_files`, `insert_into_file`) are made from seeds too.

Only the standard library is used, so that a data set never depends on what happens to be installed.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

KIB = 1024
MIB = 1024 * KIB

SEED = 20261120
FILES_PER_DIRECTORY = 25
DIRECTORIES_PER_GROUP = 100

_POOL_BYTES = 16 * MIB
_MODULE_LINES = 190

_STEMS = (
    "account action address agent amount array batch block body branch buffer build bytes cache call channel check "
    "child chunk class client clock code column command commit config context copy count cursor data date default "
    "depth detail device digest disk draft driver edge entry error event field file filter first flag flow format "
    "frame graph group handle hash header height hint host image index info input item job join key kind label "
    "last layer layout left length level limit line link list load local lock log main map mark match merge message "
    "method mode model module move name next node note number object offset option order origin output owner page "
    "pair parent part path peer phase pixel place plan point pool port prefix price proxy query queue range rate read "
    "record region remote render report request reset result right role root route row rule sample scale schema scope "
    "score search section seed segment server session shape shard side signal site size slice slot source span stack "
    "stage start state status step store stream string style suffix sum table tail target task text thread time title "
    "token total trace tree type unit update usage user value vector version view volume wait walk watch weight width "
    "window word work worker write zone"
).split()

# Lines of an imaginary language, each with `%s` for the identifiers that a module draws from its own vocabulary.
_LINES = (
    "def %s(self, %s, %s=None):",
    "    %s = self.%s(%s, %s)",
    "    if %s is None or not %s:",
    "        return %s",
    "        raise ValueError('%s must not be %s')",
    "    for %s in %s.%s():",
    "        %s.append(%s)",
    "    return {'%s': %s, '%s': %s}",
    "    # %s the %s before its %s is known to the %s",
    "    # %s %s %s of %s %s %s",
    "    # the %s %s when %s %s %s",
    "    %s = %s(%s, %s, %s, %d)",
    "        %s.%s(%s).%s(%s, %s)",
    "    self.%s[%s] = %s + %d",
    "    %s.%s = 0x%08x",
    "    assert %s == %d, %s",
    "        log.debug('%s: %%d %s', %s)",
    "static int %s(struct %s *%s, size_t %s)",
    "    while (%s->%s < %d) {",
    "    }",
    "",
    "",
    '    """The %s of one %s, as the %s %s wants it."""',
    "export const %s = (%s) => %s.%s(%s, '%s');",
    "import { %s, %s } from './%s/%s';",
    "    @property",
    "        with self.%s(%s) as %s:",
    "    %s, %s = %s.split('%s')",
)


@dataclass(frozen=True)
class TreeInfo:
    """What a generated tree holds. `origin` says where its content comes from, in words for the report."""

    name: str
    files: int
    directories: int
    bytes: int
    origin: str

    def as_dict(self) -> dict[str, object]:
        """The same, for JSON."""
        return asdict(self)


def _vocabulary(rng: random.Random) -> list[str]:
    """6,000 distinct identifiers of one or two stems (some of three), in snake and camel case."""
    words: set[str] = set(_STEMS)
    while len(words) < 6000:
        stems = rng.choices(_STEMS, k=rng.choice((2, 2, 2, 3)))
        words.add("_".join(stems) if rng.random() < 0.6 else stems[0] + "".join(s.title() for s in stems[1:]))
    return sorted(words)


def _fill(template: str, rng: random.Random, words: Iterator[str]) -> str:
    """Put identifiers and numbers into one line template."""
    values: list[str | int] = []
    for piece in template.replace("%%", "").split("%")[1:]:
        values.append(next(words) if piece.startswith("s") else rng.getrandbits(32 if piece[0] == "0" else 12))
    return template % tuple(values)


def text_pool(seed: int = SEED, size: int = _POOL_BYTES) -> bytes:
    """At least `size` bytes of source-like text.

    It compresses to about 35 % with `zstd -1`, as source code does: every stretch of some hundred lines has its own
    small vocabulary, used with the frequencies of Zipf's law, beside the words of the language.
    """
    rng = random.Random(seed)
    vocabulary = _vocabulary(rng)
    cumulative: list[float] = []
    for rank in range(1, len(_STEMS) + 61):
        cumulative.append((cumulative[-1] if cumulative else 0.0) + 1.0 / rank**0.5)
    modules: list[bytes] = []
    made = 0
    while made < size:
        own = rng.sample(vocabulary, 60) + list(_STEMS)
        rng.shuffle(own)
        words = iter(rng.choices(own, cum_weights=cumulative, k=8 * _MODULE_LINES))
        module = "\n".join(_fill(line, rng, words) for line in rng.choices(_LINES, k=_MODULE_LINES)) + "\n"
        modules.append(module.encode())
        made += len(modules[-1])
    return b"".join(modules)


def small_file_path(number: int) -> str:
    """The path of small file `number` below the root: 25 files to a directory, 100 directories to a group."""
    directory = number // FILES_PER_DIRECTORY
    return (
        f"group_{directory // DIRECTORIES_PER_GROUP:03d}/module_{directory % DIRECTORIES_PER_GROUP:02d}/"
        f"source_{number % FILES_PER_DIRECTORY:02d}.py"
    )


def make_small(root: Path, files: int, *, mean_bytes: int = 6500, seed: int = SEED) -> TreeInfo:
    """Write `files` source-like files below the empty directory `root`.

    Sizes are log-normal (sigma 1.0) around `mean_bytes`; every file is a slice of a pool of text behind a line that
    occurs nowhere else, so no two files are equal and nobody gains by deduplication.
    """
    rng = random.Random(seed + 1)
    pool = text_pool(seed)
    sigma = 1.0
    # The mean of a log-normal distribution is exp(mu + sigma^2 / 2).
    median = mean_bytes / 2.718281828459045 ** (sigma * sigma / 2)
    total = 0
    directories = 0
    for start in range(0, files, FILES_PER_DIRECTORY):
        os.makedirs(root / os.path.dirname(small_file_path(start)), exist_ok=True)
        directories += 1
        for number in range(start, min(start + FILES_PER_DIRECTORY, files)):
            size = min(int(median * rng.lognormvariate(0.0, sigma)) + 20, 400_000)
            offset = rng.randrange(len(pool) - size)
            head = b"# file %d of the benchmark, %016x\n" % (number, rng.getrandbits(64))
            descriptor = os.open(root / small_file_path(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            try:
                total += os.write(descriptor, head + pool[offset : offset + size])
            finally:
                os.close(descriptor)
    groups = -(-directories // DIRECTORIES_PER_GROUP)
    return TreeInfo("small", files, directories + groups, total, "generated source-like text")


def big_file_name(number: int) -> str:
    """The name of big file `number`; even numbers hold incompressible bytes, odd ones text."""
    return f"volume_{number}.{'bin' if number % 2 == 0 else 'txt'}"


def make_big(root: Path, file_bytes: int, *, files: int = 8, seed: int = SEED) -> TreeInfo:
    """Write `files` files of exactly `file_bytes` bytes into the empty directory `root`.

    Every second file is random (incompressible); the others are short slices of source-like text in random order,
    too short for a chunk to occur twice.
    """
    rng = random.Random(seed + 2)
    pool = text_pool(seed)
    for number in range(files):
        left = file_bytes
        with open(root / big_file_name(number), "xb") as out:
            while left:
                if number % 2 == 0:
                    piece = rng.randbytes(min(left, MIB))
                else:
                    size = min(left, rng.randrange(2_000, 12_000))
                    offset = rng.randrange(len(pool) - size)
                    piece = pool[offset : offset + size]
                out.write(piece)
                left -= len(piece)
    return TreeInfo("big", files, 0, files * file_bytes, "half random bytes, half generated text")


def edit_files(root: Path, files: int, *, edits: int = 10, round_number: int = 0, seed: int = SEED) -> list[str]:
    """Make `edits` small edits in the tree of `make_small(root, files)`; returns the paths edited.

    An edit replaces some 30 bytes in the middle of a file and adds one line at its end, in place.
    """
    rng = random.Random(seed + 3 + round_number)
    paths = [small_file_path(number) for number in sorted(rng.sample(range(files), edits))]
    for path in paths:
        with open(root / path, "r+b") as file:
            length = file.seek(0, os.SEEK_END)
            file.seek(length // 2)
            file.write(b"changed_%016x = True\n" % rng.getrandbits(64))
            file.seek(0, os.SEEK_END)
            file.write(b"# one more line, %016x\n" % rng.getrandbits(64))
    return paths


def insert_into_file(path: Path, *, size: int = KIB, seed: int = SEED) -> None:
    """Insert `size` random bytes at the front and again in the middle of the file at `path`, rewriting it in place."""
    rng = random.Random(seed + 4)
    content = path.read_bytes()
    middle = len(content) // 2
    with open(path, "r+b") as file:
        file.write(rng.randbytes(size))
        file.write(content[:middle])
        file.write(rng.randbytes(size))
        file.write(content[middle:])


@dataclass(frozen=True)
class Packages:
    """The packages of a mixed tree, by name; what the index serves today is installed, with all that they need."""

    name: str
    python: tuple[str, ...]
    node: tuple[str, ...]


ALL_PACKAGES = Packages(
    "mixed",
    (
        *("numpy", "pandas", "scipy", "matplotlib", "scikit-learn", "sympy", "django", "plotly", "sqlalchemy"),
        *("statsmodels", "networkx", "babel", "pygments", "sphinx", "aiohttp", "cryptography", "fastapi"),
    ),
    ("typescript", "webpack", "eslint", "react", "next", "lodash", "@babel/preset-env", "vite"),
)
SOME_PACKAGES = Packages("mixed-quick", ("numpy", "pandas", "scipy"), ("typescript", "webpack"))
# git would leave out or rewrite files because of these two, so its tree would be another one than everybody's.
_LEFT_OUT = (".gitignore", ".gitattributes")


def _install(command: list[str], *, cwd: Path) -> None:
    """Run an installer quietly.

    Raises:
        CalledProcessError: it failed; what it said has been passed on.
    """
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.stderr.write(done.stderr[-2000:])
        done.check_returncode()


def _fetch(folder: Path, packages: Packages) -> None:
    """Install packages as pip and npm lay them out, running none of their scripts."""
    python, node = folder / "site-packages", folder / "web"
    python.mkdir(parents=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--only-binary=:all:"]
    _install([*pip, "--target", str(python), *packages.python], cwd=python)
    node.mkdir()
    (node / "package.json").write_text(json.dumps({"name": "bench", "version": "1.0.0", "private": True}))
    _install(["npm", "install", "--silent", "--ignore-scripts", "--no-audit", "--no-fund", *packages.node], cwd=node)


def count_tree(root: Path) -> tuple[int, int, int]:
    """Regular files (and symlinks), directories and bytes below `root`."""
    files = directories = size = 0
    for folder, folders, names in os.walk(root):
        directories += len(folders)
        for name in names:
            files += 1
            size += os.lstat(os.path.join(folder, name)).st_size
    return files, directories, size


def fetch_mixed(cache: Path, packages: Packages) -> tuple[Path, str]:
    """Assemble the mixed tree in `cache` unless it is there; returns its folder and words on where it comes from.

    Without a package index (or npm) copies of the running Python's own library stand in, and the words say so.
    """
    folder = cache / packages.name
    note = folder.with_suffix(".txt")
    if note.exists():
        return folder, note.read_text().strip()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        _fetch(folder, packages)
        origin = f"site-packages of {', '.join(packages.python)}; node_modules of {', '.join(packages.node)}"
    except (OSError, subprocess.CalledProcessError) as problem:
        shutil.rmtree(folder, ignore_errors=True)
        # About as many files as the packages have.
        for number, _ in enumerate(packages.python):
            shutil.copytree(sysconfig.get_path("stdlib"), folder / f"python_{number}", symlinks=True)
        origin = f"no packages to be had ({problem}): copies of this Python's library instead"
    for where, _, names in os.walk(folder):
        for name in set(names) & set(_LEFT_OUT):
            os.unlink(os.path.join(where, name))
    note.write_text(origin + "\n")
    return folder, origin


def make_mixed(root: Path, cache: Path, packages: Packages | None) -> TreeInfo:
    """Copy the mixed tree (fetched into `cache` first, if need be) into the empty directory `root`.

    Args:
        packages: None for a stand-in of a few dozen files that needs no network.
    """
    folder, origin = Path(sysconfig.get_path("stdlib")) / "email", "a package of this Python's library"
    if packages:
        folder, origin = fetch_mixed(cache, packages)
    subprocess.run(["cp", "-a", f"{folder}/.", str(root)], check=True)
    files, directories, size = count_tree(root)
    return TreeInfo("mixed", files, directories, size, origin)
