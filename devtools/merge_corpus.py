"""Seeded triples of files to merge, and what git makes of them: `python devtools/merge_corpus.py --check 5000`.

A triple is a base and two edited versions of it. The corpora differ a lot on purpose: what is right for one kind of
text says little about another. `--check N` merges N triples with jvs and with `git merge-tree` (the machinery of `git
merge`: ort, histogram diff), counts where they agree and prints where they do not. Exit status 1 if jvs is clean where
git is not.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

from jvs.merge.content import Contents, Merged, Names, Options
from jvs.merge.lines import merge_lines

Lines = list[bytes]
Style = Literal["merge", "diff3"]
BATCH = 500


class Triple(NamedTuple):
    """One merge. `name` says which corpus and which number, so it can be made again."""

    name: str
    base: bytes
    ours: bytes
    theirs: bytes


class Verdict(NamedTuple):
    """What git made of a triple: `data` holds markers if not clean."""

    clean: bool
    data: bytes


# -- texts to start from ---------------------------------------------------------------------------------------------

WORDS = "alpha beta gamma delta count index total name value item node left right next size path key data".split()


def _word(rng: random.Random) -> str:
    return rng.choice(WORDS)


def _braces(rng: random.Random, lines: int) -> Lines:
    """Functions in braces, with the lines that all code is full of."""
    out: list[str] = []
    while len(out) < lines:
        out.append(f"int {_word(rng)}_{_word(rng)}(int {_word(rng)})")
        out.append("{")
        for _ in range(rng.randint(1, 6)):
            kind = rng.random()
            if kind < 0.3:
                out += [f"\tif ({_word(rng)} > {rng.randint(0, 9)}) {{", f"\t\treturn {rng.randint(0, 3)};", "\t}"]
            elif kind < 0.5:
                out += [f"\tfor (i = 0; i < {_word(rng)}; i++) {{", f"\t\t{_word(rng)}++;", "\t}"]
            elif kind < 0.6:
                out.append("")
            else:
                out.append(f"\t{_word(rng)} = {_word(rng)};")
        out += ["\treturn 0;", "}", ""]
    return [line.encode() for line in out]


def _indented(rng: random.Random, lines: int) -> Lines:
    """Classes by indentation, with few blank lines or many."""
    out: list[str] = ["import os", "import sys", "", ""]
    gap = rng.randint(1, 2)
    while len(out) < lines:
        out += [f"class {_word(rng).title()}{rng.randint(0, 99)}:", '    """TODO."""', ""]
        for _ in range(rng.randint(1, 5)):
            out.append(f"    def {_word(rng)}(self, {_word(rng)}):")
            for _ in range(rng.randint(1, 5)):
                line = rng.choice(("self.{} = {}", "{} = self.{}", "if {} is {}:\n            pass", "{}({})"))
                out += ("        " + line.format(_word(rng), _word(rng))).split("\n")
            out += [f"        return {rng.choice(('None', 'True', 'self', _word(rng)))}"] + [""] * gap
    return [line.encode() for line in out]


def _prose(rng: random.Random, lines: int) -> Lines:
    """A document: headings, lists, paragraphs, rules of equal signs."""
    out: list[str] = []
    while len(out) < lines:
        kind = rng.random()
        if kind < 0.2:
            title = f"{_word(rng)} {_word(rng)}"
            out += ["", title, "=" * rng.choice((7, len(title))), ""]
        elif kind < 0.6:
            out += [f"* {_word(rng)} {_word(rng)}" for _ in range(rng.randint(1, 6))]
        else:
            out += [" ".join(_word(rng) for _ in range(rng.randint(3, 12))) for _ in range(rng.randint(1, 4))] + [""]
    return [line.encode() for line in out]


def _records(rng: random.Random, lines: int) -> Lines:
    """Data: a table or a pretty-printed object, whose lines look alike."""
    if rng.random() < 0.5:
        return [b"%d,%s,%d" % (at, _word(rng).encode(), rng.randint(0, 3)) for at in range(lines)]
    out: list[str] = ["{"]
    while len(out) < lines:
        out += ["  {", f'    "{_word(rng)}": {rng.randint(0, 5)},', f'    "{_word(rng)}": null', "  },"]
    return [line.encode() for line in [*out, "}"]]


def _few_kinds(rng: random.Random, lines: int) -> Lines:
    """Lines of few kinds, at random: nothing is unique."""
    kinds = rng.choice((2, 3, 5, 8, 20))
    return [b"line %d" % rng.randrange(kinds) for _ in range(lines)]


def _periodic(rng: random.Random, lines: int) -> Lines:
    """The same few lines over and over, now and then with another one."""
    period = [b"kind %d" % at for at in range(rng.randint(1, 6))]
    return [rng.choice((b"odd", b"")) if rng.random() < 0.05 else period[at % len(period)] for at in range(lines)]


@cache
def _library() -> list[Path]:
    return sorted(path for path in Path(sysconfig.get_path("stdlib")).glob("*.py") if path.stat().st_size < 60_000)


def _real(rng: random.Random, lines: int) -> Lines:
    """A piece of the standard library of this Python, or all of a module."""
    found = rng.choice(_library()).read_bytes().split(b"\n")[:-1]
    start = rng.randint(0, max(0, len(found) - lines))
    return found if rng.random() < 0.2 else found[start : start + lines]


# -- edits: each takes the lines apart at random and returns new ones -------------------------------------------------


def _span(rng: random.Random, lines: Lines, most: int) -> tuple[int, int]:
    low = rng.randint(0, len(lines))
    return low, min(len(lines), low + rng.randint(1, most))


def _replace(rng: random.Random, lines: Lines) -> Lines:
    low, high = _span(rng, lines, 3)
    return lines[:low] + [line + b" /* %d */" % rng.randint(0, 99) for line in lines[low:high]] + lines[high:]


def _insert(rng: random.Random, lines: Lines) -> Lines:
    at = rng.randint(0, len(lines))
    new = [f"new {_word(rng)} {rng.randint(0, 99)}".encode() for _ in range(rng.randint(1, 4))]
    return lines[:at] + new + lines[at:]


def _delete(rng: random.Random, lines: Lines) -> Lines:
    low, high = _span(rng, lines, rng.choice((1, 3, 12)))
    return lines[:low] + lines[high:]


def _move(rng: random.Random, lines: Lines) -> Lines:
    low, high = _span(rng, lines, rng.choice((2, 8, 20)))
    rest = lines[:low] + lines[high:]
    at = rng.randint(0, len(rest))
    return rest[:at] + lines[low:high] + rest[at:]


def _duplicate(rng: random.Random, lines: Lines) -> Lines:
    low, high = _span(rng, lines, rng.choice((2, 8, 20)))
    at = high if rng.random() < 0.5 else rng.randint(0, len(lines))
    copied = [line.replace(b"a", b"A") if rng.random() < 0.1 else line for line in lines[low:high]]
    return lines[:at] + copied + lines[at:]


def _indent(rng: random.Random, lines: Lines) -> Lines:
    low, high = _span(rng, lines, 10)
    return lines[:low] + [b"    " + line if line else line for line in lines[low:high]] + lines[high:]


def _blank(rng: random.Random, lines: Lines) -> Lines:
    blanks = [at for at, line in enumerate(lines) if not line.strip()]
    if blanks and rng.random() < 0.5:
        at = rng.choice(blanks)
        return lines[:at] + lines[at + 1 :]
    at = rng.randint(0, len(lines))
    return [*lines[:at], b"", *lines[at:]]


def _brace(rng: random.Random, lines: Lines) -> Lines:
    """Something put in that is made of lines the text is full of."""
    at = rng.randint(0, len(lines))
    common = [line for line, times in Counter(lines).most_common(6) if times > 1] or [b"}"]
    return lines[:at] + [rng.choice(common) for _ in range(rng.randint(1, 5))] + lines[at:]


def _rename(rng: random.Random, lines: Lines) -> Lines:
    old, new = _word(rng).encode(), _word(rng).encode()
    return [line.replace(old, new) for line in lines]


def _function(rng: random.Random, lines: Lines) -> Lines:
    """A new function between two old ones."""
    gaps = [at + 1 for at, line in enumerate(lines) if not line.strip()] or [len(lines)]
    at = rng.choice(gaps)
    new = [b"int fresh_%d(void)" % rng.randint(0, 9), b"{", b"\treturn 0;", b"}", b""]
    return lines[:at] + new + lines[at:]


def _append(rng: random.Random, lines: Lines) -> Lines:
    return [*lines, *(f"last {_word(rng)}".encode() for _ in range(rng.randint(1, 3)))]


def _swap(rng: random.Random, lines: Lines) -> Lines:
    if len(lines) < 2:
        return lines
    at = rng.randrange(len(lines) - 1)
    return [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]]


Edit = Callable[[random.Random, Lines], Lines]
EDITS: Sequence[Edit] = (
    _replace, _replace, _insert, _insert, _delete, _delete, _move, _duplicate, _indent, _blank, _brace, _rename,
    _function, _append, _swap,
)  # fmt: skip


# -- corpora ---------------------------------------------------------------------------------------------------------


def _join(rng: random.Random, lines: Lines, crlf: float, open_end: float) -> bytes:
    """The bytes of the lines; `crlf`: the share of them with CRLF; `open_end`: how likely the last has no LF."""
    if crlf in (0.0, 1.0):
        end = b"\r\n" if crlf else b"\n"
        data = b"".join(line + end for line in lines)
    else:
        data = b"".join(line + (b"\r\n" if rng.random() < crlf else b"\n") for line in lines)
    return data.rstrip(b"\r\n") if rng.random() < open_end else data


def _edited(rng: random.Random, text: Callable[[random.Random, int], Lines], most: int) -> tuple[Lines, Lines, Lines]:
    """A base and two sides, which may have edits in common."""
    base = text(rng, rng.choice((5, 20, 60, 150, 400)))
    edits = rng.randint(1, most)
    sides = []
    shared = rng.random() < 0.15
    seeds = [rng.random() for _ in range(edits)]
    for _ in range(2):
        lines = base
        if shared:
            for seed in seeds[: edits // 2 + 1]:
                common = random.Random(seed)
                lines = common.choice(EDITS)(common, lines)
        for _ in range(rng.randint(1, most)):
            lines = rng.choice(EDITS)(rng, lines)
        sides.append(lines)
    return base, sides[0], sides[1]


def _corpus(
    name: str, text: Callable[[random.Random, int], Lines], seed: int, *, ends: bool = False
) -> Iterator[Triple]:
    for number in range(sys.maxsize):
        rng = random.Random(f"{name} {seed} {number}")
        sides = _edited(rng, text, rng.choice((1, 2, 4, 10)))
        crlf = rng.choice((0.0, 1.0, 1.0, 0.5)) if ends else 0.0
        open_end = 0.4 if ends else 0.05
        same = rng.random()
        base, ours, theirs = (_join(random.Random(same), lines, crlf, 0.0) for lines in sides)
        if ends and rng.random() < 0.2:  # a side that converted all its line ends
            ours = ours.replace(b"\r\n", b"\n")
        base, ours, theirs = (one.rstrip(b"\r\n") if rng.random() < open_end else one for one in (base, ours, theirs))
        yield Triple(f"{name}-{seed}-{number}", base, ours, theirs)


def _tiny(seed: int) -> Iterator[Triple]:
    """A handful of lines of a handful of kinds: where every rule shows."""
    for number in range(sys.maxsize):
        rng = random.Random(f"tiny {seed} {number}")
        kinds = [b"%c" % letter for letter in b"abcdefgh"[: rng.choice((2, 3, 4, 8))]]

        def some(lines: Lines, rng: random.Random = rng, kinds: Lines = kinds) -> bytes:
            out: Lines = []
            for line in lines:
                kind = rng.random()
                out += [] if kind < 0.12 else [rng.choice(kinds), line] if kind < 0.24 else [line]
            return b"\n".join(out) + (b"\n" if rng.random() < 0.8 else b"")

        base = [rng.choice(kinds) for _ in range(rng.randint(0, 14))]
        yield Triple(f"tiny-{seed}-{number}", b"\n".join(base) + b"\n", some(base), some(base))


def _common(seed: int) -> Iterator[Triple]:
    """A few lines that stand about 64 times or far more often, among lines that each side has rewritten."""
    for number in range(sys.maxsize):
        rng = random.Random(f"common {seed} {number}")
        often = [b"common %d" % at for at in range(rng.randint(1, 3))]
        shape = [rng.choice(often) for _ in range(rng.choice((62, 64, 65, 66, 130, 400)) * len(often))]
        share = rng.choice((0.2, 0.5, 1.0, 3.0))

        def some(who: bytes, rng: random.Random = rng, shape: Lines = shape, share: float = share) -> Lines:
            out: Lines = []
            for at, line in enumerate(shape):
                out += [b"%s %d" % (who, at)] * (rng.random() < share / 3) + [line] * (rng.random() > 0.03)
            return out

        base = some(b"base")
        ours = some(b"ours")
        low = rng.randint(0, len(base))
        theirs = base[:low] + some(b"theirs")[low : low + rng.choice((1, 30, 1000))] + base[low + rng.choice((0, 20)) :]
        yield Triple(f"common-{seed}-{number}", *(b"\n".join(side) + b"\n" for side in (base, ours, theirs)))


CORPORA: dict[str, Callable[[int], Iterator[Triple]]] = {
    "braces": lambda seed: _corpus("braces", _braces, seed),
    "indented": lambda seed: _corpus("indented", _indented, seed),
    "prose": lambda seed: _corpus("prose", _prose, seed),
    "records": lambda seed: _corpus("records", _records, seed),
    "few-kinds": lambda seed: _corpus("few-kinds", _few_kinds, seed),
    "periodic": lambda seed: _corpus("periodic", _periodic, seed),
    "stdlib": lambda seed: _corpus("stdlib", _real, seed),
    "line-ends": lambda seed: _corpus("line-ends", _braces, seed, ends=True),
    "common": _common,
    "tiny": _tiny,
}


def history(repository: Path, limit: int) -> Iterator[Triple]:
    """Triples of versions that files of a git repository had: two later ones over an earlier one, and two earlier."""
    log = _git(repository, "log", "--format=", "--raw", "--no-abbrev", "--no-renames", "--diff-filter=AM", "--reverse")
    versions: dict[bytes, list[bytes]] = {}
    for line in log.splitlines():
        meta, path = line.split(b"\t", 1)
        versions.setdefault(path, []).append(meta.split()[3])
    made = 0
    for path, blobs in sorted(versions.items()):
        for at in range(len(blobs) - 2):
            for ahead in (2, 5, 12):
                chosen = (blobs[at + 1], blobs[at], blobs[min(at + ahead, len(blobs) - 1)])
                if made >= limit or len(set(chosen)) < 3:
                    continue
                first, middle, last = (_git(repository, "cat-file", "blob", blob.decode()) for blob in chosen)
                if b"\0" in first + middle + last:
                    continue
                # Undoing an old change in the text of today: the base is in the middle.
                yield Triple(f"history:{os.fsdecode(path)}:{at}+{ahead}", first, middle, last)
                made += 1


def triples(count: int, seed: int = 0) -> list[Triple]:
    """`count` triples, taking turns among the corpora."""
    sources = [make(seed) for make in CORPORA.values()]
    each = -(-count // len(sources))
    return [case for source in sources for case in islice(source, each)][:count]


def triple(name: str) -> Triple:
    """The triple of that name, made again."""
    corpus, seed, number = name.rsplit("-", 2)
    return next(islice(CORPORA[corpus](int(seed)), int(number), None))


# -- git -------------------------------------------------------------------------------------------------------------


def _git(folder: Path, *words: str, given: bytes = b"", statuses: Sequence[int] = (0,)) -> bytes:
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "HOME": str(folder),
        "LC_ALL": "C",
    }
    done = subprocess.run(["git", *words], cwd=folder, env=environment, input=given, capture_output=True, check=False)
    if done.returncode not in statuses:
        raise RuntimeError(f"git {words[0]}: {done.stderr.decode(errors='replace')}")
    return done.stdout


def git_can_merge() -> bool:
    """Whether there is a git that merges without a working directory (2.38)."""
    if shutil.which("git") is None:
        return False
    done = subprocess.run(["git", "merge-tree", "-h"], capture_output=True, check=False)
    return b"--write-tree" in done.stdout + done.stderr


def git_verdicts(batch: Sequence[Triple], style: Style = "merge") -> list[Verdict]:
    """What `git merge` makes of each triple, as files of one big merge."""
    with tempfile.TemporaryDirectory(prefix="jvs-merge-") as place:
        folder = Path(place)
        _git(folder, "init", "-q", "--bare", ".")
        stream: list[bytes] = []
        for number, side in enumerate((b"base", b"ours", b"theirs")):
            stream.append(b"commit refs/heads/%s\nmark :%d\n" % (side, number + 1))
            stream.append(b"committer a <a> 0 +0000\ndata 0\n" + (b"from :1\n" if number else b""))
            for at, case in enumerate(batch):
                data = case[1:][number]
                stream.append(b"M 100644 inline %d\ndata %d\n%s\n" % (at, len(data), data))
        _git(folder, "fast-import", "--quiet", given=b"".join(stream))
        merge = ("-c", f"merge.conflictStyle={style}", "merge-tree", "-z", "--name-only")
        out = _git(folder, *merge, "ours", "theirs", statuses=(0, 1))
        tree, *rest = out.split(b"\0")
        conflicted = {int(name) for name in rest[: rest.index(b"")]} if b"" in rest else set()
        wanted = b"".join(b"%s:%d\n" % (tree.strip(), at) for at in range(len(batch)))
        blobs = _git(folder, "cat-file", "--batch", given=wanted)
    verdicts = []
    at = 0
    for number in range(len(batch)):
        end = blobs.index(b"\n", at)
        size = int(blobs[at:end].split()[2])
        verdicts.append(Verdict(number not in conflicted, blobs[end + 1 : end + 1 + size]))
        at = end + 1 + size + 1
    return verdicts


def merge_file_verdicts(batch: Sequence[Triple], style: Style = "merge") -> list[Verdict]:
    """What `git merge-file` makes of each triple: by Myers' diff, so not always what `git merge` makes of it."""
    verdicts = []
    with tempfile.TemporaryDirectory(prefix="jvs-merge-") as place:
        folder = Path(place)
        for case in batch:
            for side, data in zip(("base", "ours", "theirs"), case[1:], strict=True):
                (folder / side).write_bytes(data)
            words = ["merge-file", "-p", *(["--diff3"] if style == "diff3" else []), "ours", "base", "theirs"]
            done = subprocess.run(["git", *words], cwd=folder, capture_output=True, check=False)
            verdicts.append(Verdict(done.returncode == 0, done.stdout))
    return verdicts


# -- comparing -------------------------------------------------------------------------------------------------------


def merge_with_jvs(case: Triple, style: Style = "merge") -> Merged:
    """Ours, with the names that git writes behind its markers."""
    return merge_lines(Contents(case.base, case.ours, case.theirs), Options(style=style, names=Names()))


Outcome = Literal["same", "other bytes", "falsely clean", "falsely conflicting", "other markers"]


def compare(case: Triple, git: Verdict) -> Outcome:
    """How the two merges of one triple differ; `other markers`: both conflict, the text is not the same."""
    mine = merge_with_jvs(case)
    if git.clean != (not mine.conflicts):
        return "falsely conflicting" if git.clean else "falsely clean"
    if mine.data == git.data:
        return "same"
    return "other bytes" if git.clean else "other markers"


def check(cases: Iterable[Triple]) -> Iterator[tuple[Triple, Verdict, Outcome]]:
    """Each triple with what git made of it and how jvs compares."""
    source = iter(cases)
    while batch := list(islice(source, BATCH)):
        for case, verdict in zip(batch, git_verdicts(batch), strict=True):
            yield case, verdict, compare(case, verdict)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", type=int, metavar="N", default=5000, help="how many triples (default: 5000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--corpus", choices=CORPORA, help="only this one")
    parser.add_argument("--history", type=Path, metavar="REPO", help="triples from the history of a git repository")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="write the files of disagreements there")
    given = parser.parse_args()
    cases: Iterable[Triple]
    if given.history:
        cases = history(given.history, given.check)
    elif given.corpus:
        cases = islice(CORPORA[given.corpus](given.seed), given.check)
    else:
        cases = triples(given.check, given.seed)
    tally: Counter[str] = Counter()
    clean = 0
    for case, verdict, outcome in check(cases):
        tally[outcome] += 1
        clean += verdict.clean
        if outcome not in ("same", "other markers"):
            print(f"{case.name}: {outcome}")
        if outcome != "same" and given.keep:
            folder = given.keep / outcome.replace(" ", "-") / case.name.replace("/", "_")
            folder.mkdir(parents=True, exist_ok=True)
            for side, data in (*zip(("base", "ours", "theirs"), case[1:], strict=True), ("git", verdict.data)):
                (folder / side).write_bytes(data)
    total = tally.total()
    wrong = tally["falsely clean"] + tally["falsely conflicting"]
    print(f"{total} triples, {clean} clean with git: {dict(tally)}")
    print(f"same verdict {100 * (1 - wrong / total):.3f} %, same bytes of those both clean "
          f"{100 * (1 - tally['other bytes'] / max(1, clean)):.3f} %")  # fmt: skip
    return int(tally["falsely clean"] > 0)


if __name__ == "__main__":
    sys.exit(main())
