"""Tree merges made up from a seed, and what git says of them: the oracle for `jvs.merge.trees`.

`python devtools/merge_tree_corpus.py --cases 2000 --seed 1` merges each case with git and with jvs and lists where they
disagree. A case is a small history: trees with parents, of which two are merged. Directory renames are switched off
in git (jvs only suggests them), and no case holds an empty directory (git has none).
"""

from __future__ import annotations

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from jvs.castore.digest import Digest, file_digest
from jvs.castore.manifest import DIRECTORY, FILE, SYMLINK, Directory, File, Symlink, Tree
from jvs.castore.memory import MemoryStore
from jvs.castore.objects import ObjectStore
from jvs.castore.treewriter import TreeWriter
from jvs.merge.content import Names, Options
from jvs.merge.drivers.chain import merge_content
from jvs.merge.model import ContentMerger, Rules, TreeMerge
from jvs.merge.recursive import VirtualBase
from jvs.merge.trees import merge_trees

REGULAR, EXECUTABLE, LINK = b"100644", b"100755", b"120000"


class Leaf(NamedTuple):
    """A file or symlink as git has it."""

    mode: bytes
    data: bytes


Files = dict[bytes, Leaf]
"""A tree: leaf by path."""


class Commit(NamedTuple):
    """A tree and the numbers of the commits it came from."""

    files: Files
    parents: tuple[int, ...] = ()


class Case(NamedTuple):
    """Merge commits `ours` and `theirs` of a history."""

    name: str
    commits: tuple[Commit, ...]
    ours: int
    theirs: int


class Verdict(NamedTuple):
    """What a merge came to. paths: the conflicted ones; tree: git's id of the merged tree; said: kinds and messages."""

    clean: bool
    paths: frozenset[bytes]
    tree: str
    said: tuple[str, ...] = ()


# ------------------------------------------------------------------------------------------------------- making cases

WORDS = b"value result index count buffer parser token state node field column table reader writer cache queue".split()


def text(rng: random.Random, lines: int = 0) -> bytes:
    """Code-like lines, hardly one like another."""
    out = []
    for _ in range(lines or rng.randint(6, 30)):
        word, other = rng.choice(WORDS), rng.choice(WORDS)
        indent = b"    " * rng.randint(0, 2)
        out.append(
            rng.choice(
                [
                    b"%s%s = %s(%d)" % (indent, word, other, rng.randint(0, 999)),
                    b"%sif %s > %d:" % (indent, word, rng.randint(0, 999)),
                    b"%sreturn %s[%d]" % (indent, other, rng.randint(0, 99)),
                    b"",
                ]
            )
        )
    return b"\n".join(out) + b"\n"


def edited(rng: random.Random, data: bytes, where: int | None = None, share: float = 0.1) -> bytes:
    """`data` with some lines changed, added or removed; where: 0 near the top, 1 near the end, None: anywhere."""
    lines = data.split(b"\n")
    for _ in range(max(1, int(len(lines) * share))):
        half = max(1, len(lines) // 3)
        low = len(lines) - half if where == 1 else 0
        high = half if where == 0 else len(lines) - 1
        at = rng.randint(low, max(low, high - 1))
        roll = rng.random()
        if roll < 0.5 and lines:
            lines[at] = text(rng, 1).rstrip(b"\n") + b" # %d" % rng.randint(0, 99999)
        elif roll < 0.8:
            lines.insert(at, text(rng, 1).rstrip(b"\n") + b" # %d" % rng.randint(0, 99999))
        elif len(lines) > 3:
            del lines[at]
    return b"\n".join(lines)


def binary(rng: random.Random, size: int = 300) -> bytes:
    """Bytes no line merge touches."""
    return b"\0" + rng.randbytes(size)


NAMES = b"alpha beta gamma delta main util core test io net".split()
FOLDERS = [b"", b"src/", b"src/lib/", b"docs/", b"src/lib/deep/", b"data/"]


def fresh_path(rng: random.Random, *trees: Files) -> bytes:
    """A path none of the trees has, nor needs for a directory, nor lies below a file of."""
    while True:
        path = rng.choice(FOLDERS) + rng.choice(NAMES) + rng.choice([b".py", b".c", b".txt", b""])
        if rng.random() < 0.3:
            path += b"%d" % rng.randint(0, 9)
        if fits(path, *trees):
            return path


def fits(path: bytes, *trees: Files) -> bool:
    """Whether a file may be put at `path` in all trees."""
    for tree in trees:
        if path in tree or any(known.startswith(path + b"/") or path.startswith(known + b"/") for known in tree):
            return False
    return True


def tree_of(rng: random.Random, count: int = 0) -> Files:
    """A tree of text files, a few of them executable, binary or links."""
    files: Files = {}
    for _ in range(count or rng.randint(5, 12)):
        path = fresh_path(rng, files)
        roll = rng.random()
        if roll < 0.08:
            files[path] = Leaf(LINK, rng.choice(WORDS))
        elif roll < 0.15:
            files[path] = Leaf(REGULAR, binary(rng))
        elif roll < 0.18:
            files[path] = Leaf(REGULAR, b"")
        elif roll < 0.24 and files:
            files[path] = rng.choice(list(files.values()))
        else:
            files[path] = Leaf(EXECUTABLE if roll > 0.9 else REGULAR, text(rng))
    return files


Change = Callable[[random.Random, Files, bytes], None]


def _edit(rng: random.Random, files: Files, path: bytes) -> None:
    leaf = files[path]
    if leaf.mode == LINK:
        files[path] = Leaf(LINK, leaf.data + rng.choice(WORDS))
    elif b"\0" in leaf.data:
        files[path] = Leaf(leaf.mode, binary(rng))
    else:
        files[path] = Leaf(leaf.mode, edited(rng, leaf.data or text(rng), rng.choice([0, 1, None])))


def _rewrite(rng: random.Random, files: Files, path: bytes) -> None:
    files[path] = Leaf(files[path].mode if files[path].mode != LINK else REGULAR, text(rng))


def _delete(rng: random.Random, files: Files, path: bytes) -> None:
    del files[path]


def _chmod(rng: random.Random, files: Files, path: bytes) -> None:
    leaf = files[path]
    if leaf.mode != LINK:
        files[path] = leaf._replace(mode=EXECUTABLE if leaf.mode == REGULAR else REGULAR)


def _move(rng: random.Random, files: Files, path: bytes) -> None:
    leaf = files.pop(path)
    files[fresh_path(rng, files)] = leaf


def _move_and_edit(rng: random.Random, files: Files, path: bytes) -> None:
    _edit(rng, files, path)
    _move(rng, files, path)


def _move_to_hot(rng: random.Random, files: Files, path: bytes) -> None:
    target = rng.choice([b"hot.py", b"src/hot.c", b"hot/inner.txt", b"hot"])
    leaf = files.pop(path)
    files[target if fits(target, files) else fresh_path(rng, files)] = leaf


def _move_folder(rng: random.Random, files: Files, path: bytes) -> None:
    folder = path.rpartition(b"/")[0] + b"/"
    if folder == b"/":
        return _move(rng, files, path)
    target = rng.choice([b"moved/", b"pkg/", b"src/new/"])
    for known in [known for known in files if known.startswith(folder)]:
        new = target + known.removeprefix(folder)
        leaf = files.pop(known)
        files[new if fits(new, files) else fresh_path(rng, files)] = leaf
    return None


def _to_link(rng: random.Random, files: Files, path: bytes) -> None:
    files[path] = Leaf(LINK, rng.choice(WORDS)) if files[path].mode != LINK else Leaf(REGULAR, text(rng))


def _to_folder(rng: random.Random, files: Files, path: bytes) -> None:
    leaf = files.pop(path)
    files[path + b"/inner"] = leaf if rng.random() < 0.5 else Leaf(REGULAR, text(rng))
    if rng.random() < 0.5:
        files[path + b"/other"] = Leaf(REGULAR, text(rng))


def _folder_to_file(rng: random.Random, files: Files, path: bytes) -> None:
    folder = path.split(b"/")[0]
    if folder == path:
        return _delete(rng, files, path)
    for known in [known for known in files if known.startswith(folder + b"/")]:
        del files[known]
    files[folder] = Leaf(REGULAR, text(rng))
    return None


def _add(rng: random.Random, files: Files, path: bytes) -> None:
    files[fresh_path(rng, files)] = Leaf(rng.choice([REGULAR, REGULAR, EXECUTABLE]), text(rng))


def _add_hot(rng: random.Random, files: Files, path: bytes) -> None:
    target = rng.choice([b"hot.py", b"src/hot.c", b"hot/inner.txt", b"hot"])
    if fits(target, files):
        roll = rng.random()
        files[target] = (
            Leaf(LINK, rng.choice(WORDS))
            if roll < 0.1
            else Leaf(REGULAR, binary(rng) if roll < 0.2 else text(rng))
            if roll < 0.8
            else rng.choice(list(files.values()))
        )


CHANGES: list[tuple[Change, int]] = [
    (_edit, 8),
    (_rewrite, 1),
    (_delete, 3),
    (_chmod, 2),
    (_move, 3),
    (_move_and_edit, 3),
    (_move_to_hot, 2),
    (_move_folder, 1),
    (_to_link, 1),
    (_to_folder, 1),
    (_folder_to_file, 1),
    (_add, 2),
    (_add_hot, 3),
]


def changed(rng: random.Random, base: Files, hot: Sequence[bytes], most: int = 5) -> Files:
    """One side: a few changes, half of them to the `hot` paths that the other side changes too."""
    files = dict(base)
    for _ in range(rng.randint(1, most)):
        change = rng.choices([one for one, _ in CHANGES], [weight for _, weight in CHANGES])[0]
        known = [path for path in hot if path in files] if rng.random() < 0.6 else list(files)
        if known:
            change(rng, files, rng.choice(known))
    return files


def _clashing(rng: random.Random, first: Change, second: Change) -> tuple[Files, Files, Files]:
    base = tree_of(rng)
    path = fresh_path(rng, base)
    base[path] = Leaf(REGULAR, text(rng, 20))
    ours, theirs = dict(base), dict(base)
    first(rng, ours, path)
    second(rng, theirs, path)
    return base, ours, theirs


def _two_to_one(rng: random.Random) -> tuple[Files, Files, Files]:
    base = tree_of(rng)
    one, two = fresh_path(rng, base), b"zwei.txt"
    base[one], base[two] = Leaf(REGULAR, text(rng, 20)), Leaf(REGULAR, text(rng, 20))
    ours, theirs = dict(base), dict(base)
    ours[b"both"], theirs[b"both"] = ours.pop(one), theirs.pop(two)
    if rng.random() < 0.5:
        _edit(rng, theirs, one)
    if rng.random() < 0.5:
        _edit(rng, ours, two)
    return base, ours, theirs


def _same_path(rng: random.Random, first: Leaf, second: Leaf) -> tuple[Files, Files, Files]:
    base = tree_of(rng)
    path = fresh_path(rng, base)
    return base, {**base, path: first}, {**base, path: second}


KINDS: dict[str, Callable[[random.Random], tuple[Files, Files, Files]]] = {
    "content": lambda rng: _clashing(rng, _edit, _edit),
    "add/add": lambda rng: _same_path(rng, Leaf(REGULAR, text(rng)), Leaf(REGULAR, text(rng))),
    "modify/delete": lambda rng: _clashing(rng, _edit, _delete),
    "rename and edit": lambda rng: _clashing(rng, _move, _edit),
    "rename/delete": lambda rng: _clashing(rng, _move_and_edit, _delete),
    "rename/rename 1to2": lambda rng: _clashing(rng, _move, _move_and_edit),
    "rename/rename 2to1": _two_to_one,
    "file/directory": lambda rng: _clashing(rng, _to_folder, _edit),
    "directory/file": lambda rng: _clashing(rng, _folder_to_file, _edit),
    "mode": lambda rng: _same_path(rng, Leaf(REGULAR, b"one\ntwo\n"), Leaf(EXECUTABLE, b"one\ntwo\n")),
    "mode and content": lambda rng: _clashing(rng, _chmod, _edit),
    "type": lambda rng: _clashing(rng, _to_link, _edit),
    "binary": lambda rng: _same_path(rng, Leaf(REGULAR, binary(rng)), Leaf(REGULAR, binary(rng))),
    "folders": lambda rng: _clashing(rng, _move_folder, _edit),
}


def _criss_cross(rng: random.Random, name: str) -> Case:
    root = tree_of(rng)
    hot = rng.sample(sorted(root), min(3, len(root)))
    one, two = changed(rng, root, hot, 3), changed(rng, root, hot, 3)
    # what somebody made of the two, one way and the other
    ours, theirs = _either(rng, root, one, two), _either(rng, root, one, two)
    return Case(
        name,
        (
            Commit(root),
            Commit(one, (0,)),
            Commit(two, (0,)),
            Commit(changed(rng, ours, hot, 2), (1, 2)),
            Commit(changed(rng, theirs, hot, 2), (2, 1)),
        ),
        3,
        4,
    )


def _either(rng: random.Random, root: Files, one: Files, two: Files) -> Files:
    """A plausible merge: what only one side changed as it has it, the rest of either."""
    out: Files = {}
    for path in sorted(root.keys() | one.keys() | two.keys()):
        base, left, right = root.get(path), one.get(path), two.get(path)
        leaf = right if left == base else left if right == base else rng.choice([left, right])
        if leaf is not None and fits(path, out):
            out[path] = leaf
    return out


def cases(count: int, seed: int) -> Iterator[Case]:
    """`count` cases: every conflict kind in turn, random trees, criss-cross histories, unrelated ones."""
    kinds = sorted(KINDS)
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")
        kind = number % 5
        if kind in (0, 1):
            name = kinds[(number // 5 * 2 + kind) % len(kinds)]
            base, ours, theirs = KINDS[name](rng)
            if rng.random() < 0.5:
                ours, theirs = theirs, ours
        elif kind == 4 and number % 50 == 4:
            yield Case("unrelated", (Commit(tree_of(rng, 4)), Commit(tree_of(rng, 4))), 0, 1)
            continue
        elif kind == 4:
            yield _criss_cross(rng, "criss-cross")
            continue
        else:
            name = "random"
            base = tree_of(rng)
            hot = rng.sample(sorted(base), min(4, len(base)))
            ours, theirs = changed(rng, base, hot), changed(rng, base, hot)
        yield Case(name, (Commit(base), Commit(ours, (0,)), Commit(theirs, (0,))), 1, 2)


# ------------------------------------------------------------------------------------------------------------ git


def git_verdicts(found: Sequence[Case], where: Path) -> list[Verdict]:
    """What `git merge-tree --write-tree` says of each case; `where`: a directory for a scratch repository."""
    _git(where, "init", "-q", "--bare", ".")
    _git(where, "fast-import", "--quiet", "--done", stdin=b"".join(_fast_import(found)))
    merges = "".join(f"c{n}-{case.ours} c{n}-{case.theirs}\n" for n, case in enumerate(found))
    out = _git(
        where,
        *("-c", "merge.directoryRenames=false", "-c", "core.abbrev=no"),
        *("merge-tree", "--write-tree", "--stdin", "-z", "--messages", "--allow-unrelated-histories"),
        stdin=merges.encode(),
    )
    tokens = iter(out.split(b"\0"))
    return [_parse(tokens) for _ in found]


def side_names(number: int, case: Case) -> tuple[bytes, bytes]:
    """What git calls ours and theirs of case `number`."""
    return f"c{number}-{case.ours}".encode(), f"c{number}-{case.theirs}".encode()


def _git(where: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    # no configuration but the repository's own
    environment = {"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(where), "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        ["git", *arguments], cwd=where, env=environment, input=stdin, stdout=subprocess.PIPE, check=False
    )
    if done.returncode > 1:
        raise RuntimeError(f"git {arguments[0]} failed with status {done.returncode}")
    return done.stdout


def _fast_import(found: Sequence[Case]) -> Iterator[bytes]:
    mark = 0
    for number, case in enumerate(found):
        first = mark
        for at, commit in enumerate(case.commits):
            mark += 1
            yield b"commit refs/heads/c%d-%d\nmark :%d\n" % (number, at, mark)
            yield b"committer a <a@b> %d +0000\ndata 0\n" % (1_000_000 + at)
            for nth, parent in enumerate(commit.parents):
                yield b"%s :%d\n" % (b"merge" if nth else b"from", first + 1 + parent)
            yield b"deleteall\n"
            for path, leaf in commit.files.items():
                yield b'M %s inline "%s"\ndata %d\n%s\n' % (leaf.mode, path, len(leaf.data), leaf.data)
    yield b"done\n"


def _parse(tokens: Iterator[bytes]) -> Verdict:
    status, tree = next(tokens), next(tokens)
    paths = set()
    while line := next(tokens):
        paths.add(line.split(b"\t", 1)[1])
    said = []
    while count := next(tokens):
        for _ in range(int(count)):
            next(tokens)
        kind, message = next(tokens), next(tokens)
        said.append(f"{kind.decode()}: {message.decode(errors='replace').strip()}")
    return Verdict(status == b"1", frozenset(paths), tree.decode(), tuple(said))


def tree_id(files: Files) -> str:
    """git's id of a tree."""
    return _tree(dict(files)).hex()


def _tree(files: Files) -> bytes:
    rows: list[tuple[bytes, bytes, bytes]] = []
    below: dict[bytes, Files] = {}
    for path, leaf in files.items():
        name, slash, rest = path.partition(b"/")
        if slash:
            below.setdefault(name, {})[rest] = leaf
        else:
            rows.append((name, leaf.mode, _object(b"blob", leaf.data)))
    rows.extend((name, b"40000", _tree(inside)) for name, inside in below.items())
    rows.sort(key=lambda row: row[0] + b"/" if row[1] == b"40000" else row[0])
    return _object(b"tree", b"".join(b"%s %s\0%s" % (mode, name, digest) for name, mode, digest in rows))


def _object(kind: bytes, data: bytes) -> bytes:
    return hashlib.sha1(b"%s %d\0" % (kind, len(data)) + data, usedforsecurity=False).digest()


# ------------------------------------------------------------------------------------------------------------ jvs


class JvsMerge(NamedTuple):
    """What jvs made of a case."""

    verdict: Verdict
    merge: TreeMerge
    files: Files


class Jvs:
    """Merges cases in a store in memory."""

    def __init__(self, content: ContentMerger) -> None:
        self.content = content
        store = MemoryStore()
        self.objects = ObjectStore(store, store.settings)

    def put(self, files: Files) -> Digest:
        """The snapshot of a tree."""
        with TreeWriter(self.objects) as writer:
            writer.work_alone()
            tree = _put(writer, _nested(files))
            writer.publish()
        return tree.digest

    def merge(self, case: Case, number: int) -> JvsMerge:
        """Merge a case, over a virtual base where its history has several."""
        roots = [self.put(commit.files) for commit in case.commits]
        ours, theirs = side_names(number, case)
        rules = Rules(self.content, Options(names=Names(ours, b"base", theirs)), explain=True)
        bases = merge_bases(case, (case.ours,), case.theirs)
        with (
            VirtualBase(
                self.objects, rules, roots.__getitem__, lambda one, two: merge_bases(case, one, two)
            ) as virtual,
            TreeWriter(self.objects) as writer,
        ):
            writer.work_alone()
            base = virtual.tree(bases)
            merged = merge_trees(writer, base, roots[case.ours], roots[case.theirs], rules, objects=virtual.objects)
            writer.publish()
        files = self.read(merged.tree.digest)
        verdict = Verdict(
            merged.clean,
            conflicted_paths(merged, files),
            tree_id(files),
            tuple(f"{one.kind}: {b'/'.join(one.path).decode()} {one.detail}" for one in merged.conflicts),
        )
        return JvsMerge(verdict, merged, files)

    def read(self, root: Digest) -> Files:
        """The files of a snapshot."""
        files: Files = {}
        for path, page, entries in self.objects.walk(root):
            for entry in entries:
                where = b"/".join((*path, entry.name))
                if entry[1] == FILE:
                    mode = EXECUTABLE if entry.mode & 0o100 else REGULAR
                    files[where] = Leaf(mode, b"".join(self.objects.read(page, entry)))
                elif entry[1] == SYMLINK:
                    files[where] = Leaf(LINK, entry.target)
        return files


def conflicted_paths(merged: TreeMerge, files: Files) -> frozenset[bytes]:
    """The paths that git would list: where something was left, and of rename/rename (1to2) the old path too, unless
    the merged tree has a directory there."""
    paths: set[bytes] = set()
    for one in merged.conflicts:
        paths.update(b"/".join(path) for path in one.placed)
        path = b"/".join(one.path)
        if not one.placed or (one.detail == "1to2" and not any(known.startswith(path + b"/") for known in files)):
            paths.add(path)
    return frozenset(paths)


def merge_bases(case: Case, ones: Sequence[int], two: int) -> list[int]:
    """The best common ancestors of a commit and one made of several."""
    left = set[int]().union(*(_ancestors(case, one) for one in ones))
    common = left & _ancestors(case, two)
    return sorted(one for one in common if not any(one in _ancestors(case, other) - {other} for other in common))


def _ancestors(case: Case, commit: int) -> set[int]:
    return {commit}.union(*(_ancestors(case, parent) for parent in case.commits[commit].parents))


Nested = dict[bytes, "Leaf | Nested"]


def _nested(files: Files) -> Nested:
    root: Nested = {}
    for path, leaf in files.items():
        here = root
        *folders, name = path.split(b"/")
        for folder in folders:
            below = here.setdefault(folder, {})
            assert isinstance(below, dict)
            here = below
        here[name] = leaf
    return root


def _put(writer: TreeWriter, tree: Nested) -> Tree:
    below = {name: _put(writer, value) for name, value in sorted(tree.items()) if isinstance(value, dict)}
    directory = writer.directory()
    for name, leaf in sorted(tree.items()):
        if not isinstance(leaf, Leaf):
            directory.add(Directory(name, DIRECTORY, 0o755, *below[name]))
        elif leaf.mode == LINK:
            directory.add(Symlink(name, SYMLINK, leaf.data))
        else:
            mode = 0o755 if leaf.mode == EXECUTABLE else 0o644
            directory.add(File(name, FILE, mode, len(leaf.data), file_digest(leaf.data)), leaf.data)
    return directory.finish()


def compare(found: Sequence[Case], content: ContentMerger, where: Path) -> Iterator[tuple[Case, Verdict, JvsMerge]]:
    """(case, git's verdict, what jvs made of it) for each case."""
    jvs = Jvs(content)
    for number, (case, git) in enumerate(zip(found, git_verdicts(found, where), strict=True)):
        yield case, git, jvs.merge(case, number)


def main() -> int:
    """Compare, and list what differs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    found = list(cases(options.cases, options.seed))
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="jvs-merge-") as scratch:
        for number, (case, git, jvs) in enumerate(compare(found, merge_content, Path(scratch))):
            verdict = jvs.verdict
            same = (git.clean, git.paths) == (verdict.clean, verdict.paths)
            counts["cases"] += 1
            counts["same verdict"] += git.clean == verdict.clean
            counts["same verdict and paths"] += same
            counts["falsely clean"] += verdict.clean and not git.clean
            both = verdict.clean and git.clean
            counts["both clean"] += both
            counts["both clean, same tree"] += both and git.tree == verdict.tree
            counts["both conflicted"] += not git.clean and not verdict.clean
            counts["both conflicted, same tree"] += not git.clean and not verdict.clean and git.tree == verdict.tree
            if not same or (both and git.tree != verdict.tree) or (options.verbose and git.tree != verdict.tree):
                print(f"#{number} {case.name}: git {'clean' if git.clean else 'conflict'}")
                print("   git:", *git.said, sorted(git.paths - verdict.paths), sep="\n     ")
                print("   jvs:", *verdict.said, sorted(verdict.paths - git.paths), sep="\n     ")
    print(*(f"{name}: {count}" for name, count in counts.items()), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
