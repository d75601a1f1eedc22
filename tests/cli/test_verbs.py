"""What verbs say to people, and how they read their operands."""

from __future__ import annotations

import os
import subprocess
import sys
from types import ModuleType

import pytest

from jvs.castore.manifest import DIRECTORY, FILE, SYMLINK, Directory, File, Symlink
from jvs.cli.fs.cat import parse_range
from jvs.cli.fs.diff import line_counts
from jvs.cli.fs.init import parse_chunk_sizes
from jvs.errors import UsageError
from jvs.workspace.results import (
    Change,
    Damage,
    DiffResult,
    DoctorResult,
    Finding,
    PullResult,
    PushResult,
    PushStats,
    Skipped,
    StatsResult,
    StatsRow,
    TreeItem,
    TreeResult,
    VerifyResult,
)
from tests.cli.conftest import FakeRepo, Run

ONE = bytes(range(32))
TWO = bytes(range(100, 132))
SHORT_ONE = "000102030405"
SHORT_TWO = "646566676869"


def file(name: bytes, size: int, mode: int = 0o644) -> File:
    return File(name, FILE, mode, size, ONE)


@pytest.mark.parametrize(
    ("text", "wanted"), [("0-99", (0, 99)), ("7-7", (7, 7)), ("100-", (100, None)), ("-50", (None, 50))]
)
def test_ranges(text: str, wanted: tuple[int | None, int | None]) -> None:
    assert parse_range(text) == wanted


@pytest.mark.parametrize("text", ["", "-", "5", "a-b", "9-3", "1-2-3", "--5", "+1-2", "\u0661-\u0662", "9" * 30 + "-"])
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(UsageError, match="not a range"):
        parse_range(text)


def test_chunk_sizes() -> None:
    assert parse_chunk_sizes("64K:1m:4M") == (64 << 10, 1 << 20, 4 << 20)
    assert parse_chunk_sizes("64:256:1024") == (64, 256, 1024)


@pytest.mark.parametrize("text", ["", "1:2", "1:2:3:4", "1:2:x", "1:2:3G", "1::3", "-1:2:3", "1.5K:2:3"])
def test_what_is_no_chunk_sizes(text: str) -> None:
    with pytest.raises(UsageError, match="not MIN:AVG:MAX"):
        parse_chunk_sizes(text)


def pushed(status: str, label: str | None, skipped: tuple[Skipped, ...] = ()) -> PushResult:
    stats = PushStats(3, files=3, bytes=12_800, new_bytes=512)
    return PushResult(status, label, ONE, None if label is None else 2, None, None, None, stats, skipped)


def test_a_detached_push_says_how_to_keep_it(jvs: Run, repo: FakeRepo) -> None:
    repo.answers["push"] = pushed("detached", None)
    done = jvs("fs", "push", "d", "--detach")
    assert done.out.startswith(f"detached {SHORT_ONE}: 3 files, 12.5 KiB, 512 B new, ")
    assert done.err == f"kept for 24 hours; to keep it for good: jvs fs label NAME {SHORT_ONE}\n"
    assert jvs("fs", "push", "d", "--detach", "-q") == (0, ONE.hex() + "\n", "")


def test_skipped_paths_are_listed_but_not_without_end(jvs: Run, repo: FakeRepo) -> None:
    repo.answers["push"] = pushed(
        "advanced", "main", tuple(Skipped(b"f%d\n" % number, "a FIFO") for number in range(25))
    )
    done = jvs("fs", "push", "d")
    assert done.status == 3
    lines = done.err.splitlines()
    assert lines[0] == "skipped: f0\\n (a FIFO)"
    assert lines[20:] == ["skipped: 5 more (--json lists them all)"]
    assert len(jvs("fs", "push", "d", "--json").value["skipped"]) == 25
    assert jvs("fs", "push", "d", "--json").status == 3


def test_every_option_of_push_arrives(jvs: Run, repo: FakeRepo) -> None:
    repo.answers["push"] = pushed("advanced", "main")
    words = "--label main --expected 7 --force --detach -m why --tag a --tag b --always --rehash --skip-unreadable"
    jvs("fs", "push", "d", *words.split(), "--allow-purged")
    jvs("fs", "push", "--rev", "main")
    (_, operands, options), (_, revision, defaults) = repo.calls
    assert operands == ("d",)
    assert options == {
        "label": "main", "expected": "7", "force": True, "detach": True, "message": "why", "tags": ("a", "b"),
        "always": True, "rehash": True, "skip_unreadable": True, "as_revision": False, "progress": None,
        "allow_purged": True,
    }  # fmt: skip
    assert revision == ("main",)
    assert defaults == {
        "label": None, "expected": None, "force": False, "detach": False, "message": "", "tags": (),
        "always": False, "rehash": False, "skip_unreadable": False, "as_revision": True, "progress": None,
        "allow_purged": False,
    }  # fmt: skip


def test_a_pull_says_what_it_saved_and_what_it_could_not_do(jvs: Run, repo: FakeRepo) -> None:
    repo.answers["pull"] = PullResult(
        "main", ONE, 7, "di\x1br", written=3, removed=1, modes_changed=2, unchanged=10, bytes_written=2048,
        autosaved="autosave/main@1", warnings=("run.sh: setuid left out",),
    )  # fmt: skip
    done = jvs("fs", "pull", "main", "dir", "--autosave")
    counts = "3 written, 1 removed, 2 modes changed, 10 unchanged, 2.0 KiB, "
    assert done.out.startswith(f"pulled main@7 {SHORT_ONE} into di\\x1br: {counts}")
    assert done.err.splitlines() == [
        "saved what was there as autosave/main@1; to bring it back: jvs fs pull autosave/main@1 'di\\x1br'",
        "warning: run.sh: setuid left out",
    ]


def test_tree_shows_modes_sizes_and_targets(jvs: Run, repo: FakeRepo) -> None:
    entries = [
        TreeItem(b"d", 0, Directory(b"d", DIRECTORY, 0o755, ONE, 1, 5)),
        TreeItem(b"d/f", 1, file(b"f", 5)),
        TreeItem(b"l", 0, Symlink(b"l", SYMLINK, b"to\nthere")),
    ]
    repo.answers["tree"] = TreeResult(ONE, b"", 3, 5, iter(entries))
    assert jvs("fs", "tree", "main").out.splitlines() == [
        "0755        5 B  d/",
        "0644        5 B    f",
        "link             l -> to\\nthere",
        "            5 B  in 3 entries",
    ]


def test_diff_shows_a_letter_and_what_changed(jvs: Run, repo: FakeRepo) -> None:
    link = Symlink(b"l", SYMLINK, b"there")
    repo.answers["diff"] = DiffResult(
        ONE,
        TWO,
        added=(Change(b"b/new", None, file(b"new", 2048)),),
        removed=(Change(b"gone", file(b"gone", 1), None),),
        modified=(
            Change(b"a", file(b"a", 10), file(b"a", 10)),
            Change(b"l", file(b"l", 7), link),
            Change(b"m", file(b"m", 5), file(b"m", 5, 0o755)),
            Change(b"t", Symlink(b"t", SYMLINK, b"x"), Symlink(b"t", SYMLINK, b"y")),
        ),
        renamed=(Change(b"now", file(b"was", 3), file(b"now", 3), b"was"),),
    )
    assert jvs("fs", "diff", "x", "y").out.splitlines() == [
        "M  a           10 B, same size",
        "A  b/new       +2.0 KiB",
        "D  gone        -1 B",
        "M  l           -2 B, file -> symlink",
        "M  m           mode 0644 -> 0755",
        "R  was -> now",
        "M  t           -> y",
        f"{SHORT_ONE} -> {SHORT_TWO}: 1 added, 1 removed, 4 modified, 1 renamed, +2.0 KiB",
    ]


def test_diff_stat_draws_lines_and_names_the_sizes_of_what_has_none(jvs: Run, repo: FakeRepo) -> None:
    repo.answers["diff"] = DiffResult(
        ONE,
        TWO,
        (),
        (),
        (Change(b"a", file(b"a", 1), file(b"a", 9)), Change(b"b", file(b"b", 1), file(b"b", 2048))),
        (),
    )
    hunk = ["@@ -1 +1,80 @@", *["+x"] * 80, *["-y"] * 20, "--- not a header", "\\ No newline at end of file"]
    repo.answers["patch"] = [
        "diff --jvs a/a b/a",
        "--- a/a",
        "+++ b/a",
        *hunk,
        "diff --jvs a/b b/b",
        "Binary b differs",
    ]
    lines = jvs("fs", "diff", "x", "y", "--stat").out.splitlines()
    assert lines[0] == f"M  a    101 {'+' * 32}{'-' * 8}"
    assert lines[1] == "M  b  1 B -> 2.0 KiB"
    assert lines[2].endswith("2 modified, +2.0 KiB, 80 lines added, 21 removed")


def test_line_counts() -> None:
    assert list(line_counts([])) == []
    assert list(line_counts(["diff --jvs a/x b/x", "old file mode 0644", "new file mode 0755"])) == [(0, 0)]


def test_a_patch_is_coloured_and_tamed_on_a_terminal_only(
    jvs: Run, repo: FakeRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.answers["diff"] = DiffResult(ONE, TWO, (), (), (), ())
    repo.answers["patch"] = ["diff --jvs a/x b/x", "--- a/x", "@@ -1 +1 @@", "-\ta\x1b[2J", "+--- b"]
    assert jvs("fs", "diff", "x", "y", "--patch").out.splitlines() == repo.answers["patch"]
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("jvs.cli.ui.Ui.coloured", staticmethod(lambda stream=None: True))
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda self: True, raising=False)
    assert jvs("fs", "diff", "x", "y", "--patch").out.splitlines() == [
        "\x1b[1mdiff --jvs a/x b/x\x1b[0m",
        "\x1b[1m--- a/x\x1b[0m",
        "\x1b[36m@@ -1 +1 @@\x1b[0m",
        "\x1b[31m-\ta\\x1b[2J\x1b[0m",
        "\x1b[32m+--- b\x1b[0m",
    ]


def test_verify_lists_what_is_damaged(jvs: Run, repo: FakeRepo) -> None:
    repo.answers["verify"] = VerifyResult(
        9, 4096, (Damage(b"main:d/f", ONE, "wrong bytes"), Damage(None, None, "lost"))
    )
    done = jvs("fs", "verify", "main")
    assert done.status == 8
    assert done.out.splitlines() == [f"damaged  main:d/f  {SHORT_ONE}  wrong bytes", "damaged  -  -  lost"]
    assert done.err.startswith("error: 2 of the things checked are damaged: 9 objects, 4.0 KiB checked in ")
    assert jvs("fs", "verify", "main", "-q").out == ONE.hex() + "\n"


def test_stats_draw_bars(jvs: Run, repo: FakeRepo) -> None:
    rows = (StatsRow("one", ONE, 0, 5, 100, 90, 60), StatsRow("two", TWO, 0, 6, 120, 30, 20))
    repo.answers["stats"] = StatsResult(2, 2, {"page": 2, "part": 0}, 220, 120, 80, {"packs": 4096}, "label", rows)
    out = jvs("fs", "stats", "--by", "label").out
    assert "objects    2 pages\n" in out
    assert f"+60 B  {'█' * 30}\n" in out
    assert f"+20 B  {'█' * 10}\n" in out
    assert jvs("fs", "stats", "--by", "label", "-q").out == f"{ONE.hex()}\n{TWO.hex()}\n"


@pytest.mark.parametrize("locale", ["C.UTF-8", "en_US.ISO-8859-1", "POSIX"])
def test_output_is_utf8_whatever_the_locale(locale: str) -> None:
    code = "from jvs.cli.ui import Ui; Ui().say('caf\\u00e9 \\udce9')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"LC_ALL": locale, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"caf\xc3\xa9 \\udce9\n"


BROKEN = Finding("index", "a row is\ngone", "error", "damaged", "index/data.mdb")
MENDED = Finding("index", "a row was gone", "error", "damaged", None, repaired=True)
HINT = Finding("packs", "a leftover", "warning")


@pytest.mark.parametrize(
    ("findings", "words", "status", "lines", "step"),
    [
        ((), [], 0, ["Store is healthy."], None),
        ((HINT,), [], 0, ["warning  packs: a leftover", "Store is healthy."], None),
        ((MENDED,), ["--repair"], 0, ["error    index: a row was gone (repaired)", "Store is healthy."], None),
        ((BROKEN,), [], 8, ["error    index: a row is\\ngone [index/data.mdb]"], "--repair"),
        ((BROKEN,), ["--repair"], 8, ["error    index: a row is\\ngone [index/data.mdb]"], "--repair --from STORE"),
    ],
)
def test_doctor(
    findings: tuple[Finding, ...],
    words: list[str],
    status: int,
    lines: list[str],
    step: str | None,
    jvs: Run,
    repo: FakeRepo,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[dict[str, object]] = []

    def examine(path: str, **options: object) -> DoctorResult:
        asked.append(options)
        return DoctorResult(findings)

    module = ModuleType("jvs.workspace.doctor")
    module.doctor = examine  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "jvs.workspace.doctor", module)
    done = jvs("doctor", *words)
    assert done.status == status
    assert done.out.splitlines() == lines
    assert (step in done.err.partition("next: jvs doctor ")[2]) if step else done.err == ""
    program = jvs("doctor", *words, "--json")
    assert program.status == status
    assert program.value["healthy"] is (status == 0)
    assert ("error" in program.value) is (status != 0)
    wanted = {"repair": "--repair" in words, "runtime": False, "rebuild_index": False, "strict": False}
    assert asked[0] == {**wanted, "sources": [], "progress": None}
