"""The benchmark's own arithmetic: a wrong verdict, or a tree that differs by machine, makes its figures worthless."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its modules know one another by their bare names."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def fingerprint(root: Path) -> str:
    """One digest over all paths and contents."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.is_file():
            digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def test_the_same_tree_everywhere(tmp_path: Path) -> None:
    """The bytes of the generated trees, of the edits and of the insertion are pinned."""
    from datasets import big_file_name, edit_files, insert_into_file, make_big, make_small

    small, big = tmp_path / "small", tmp_path / "big"
    small.mkdir()
    big.mkdir()
    info = make_small(small, 120)
    assert (info.files, info.directories) == (120, 6)
    before = fingerprint(small)
    assert len(edit_files(small, 120)) == 10
    make_big(big, 200_000, files=2)
    insert_into_file(big / big_file_name(0))
    assert (big / big_file_name(0)).stat().st_size == 200_000 + 2048
    assert [before[:16], fingerprint(small)[:16], fingerprint(big)[:16]] == PINNED


PINNED = ["9a109aa59ef15e94", "fb80fdb50fc9ec04", "a9d9b385595fbe26"]


def test_text_compresses_like_source() -> None:
    """About 35 % with zstd at level 1, which the targets assume."""
    from zstandard import ZstdCompressor

    from datasets import text_pool

    pool = text_pool(size=1 << 20)
    assert 0.33 < len(ZstdCompressor(level=1).compress(pool)) / len(pool) < 0.37


def test_figures_beside_their_targets(tmp_path: Path) -> None:
    """The median counts, and of a cost less is better."""
    from figures import Figures, Target, write_page

    figures = Figures()
    for value in (90.0, 99.0, 2000.0):
        figures.add("rate", value, "/s", Target(100))
        figures.add("cost", value, "ms", Target(100, most=True))
        figures.add("size", value * 1000, "MiB")
    rows = figures.table()[2:5]
    assert rows == [
        "| rate | 99.0/s | 90.0 to 2,000/s | >= 100/s | **missed** |",
        "| cost | 99.0 ms | 90.0 to 2,000 ms | <= 100 ms | met |",
        "| size | 99,000 MiB | 90,000 to 2,000,000 MiB |  |  |",
    ]
    machine = dict.fromkeys(("processor", "memory", "kernel", "python", "file system", "load before"), "x")
    write_page(tmp_path / "page.md", "Title", "script.py", machine, [["text"], ["a table", ""]])
    assert (tmp_path / "page.md").read_text().endswith(".\n\ntext\n\na table\n")


@pytest.mark.parametrize(
    ("limit", "faster", "jvs", "git", "restic", "met"),
    [
        (2.0, True, 1.0, 9.0, 2.0, True),
        (2.0, True, 1.01, 9.0, 2.0, False),  # the best of them counts
        (1.2, False, 2.4, 2.0, 3.0, True),
        (1.2, False, 2.5, 2.0, 3.0, False),
    ],
)
def test_verdicts(limit: float, faster: bool, jvs: float, git: float, restic: float, met: bool) -> None:
    """A target is held against the median of the best of those it names."""
    from targets import Target, judge, medians_of
    from works import Sample

    target = Target("t", "small", "first push", limit, ("git", "restic", "borg"), faster=faster)
    times = {"jvs": jvs, "git": git, "restic": restic, "tar": 0.1}
    samples = [
        Sample("small", "first push", tool, repeat, seconds * factor, 0.0, 0)
        for tool, seconds in times.items()
        for repeat, factor in enumerate((0.1, 1.0, 7.0))
    ]
    assert judge(target, medians_of(samples)).met is met
    assert judge(target, medians_of(samples[3:])).met is None, "jvs was not measured"
    assert judge(target, medians_of(samples[:3])).met is None, "nobody to compare with"


def test_a_wrong_pull_is_noticed(tmp_path: Path) -> None:
    """`verify_pull` compares names, bytes, links and the x bit."""
    from works import verify_pull

    for name in ("source", "pulled"):
        (tmp_path / name / "empty").mkdir(parents=True)
        (tmp_path / name / "file").write_bytes(b"one")
        (tmp_path / name / "link").symlink_to("file")
    source, pulled = tmp_path / "source", tmp_path / "pulled"
    verify_pull(source, pulled, empty_directories=True)

    (pulled / "file").write_bytes(b"two")
    with pytest.raises(RuntimeError, match="differs"):
        verify_pull(source, pulled, empty_directories=True)
    (pulled / "file").write_bytes(b"one")
    (pulled / "file").chmod(0o755)
    with pytest.raises(RuntimeError, match="differs"):
        verify_pull(source, pulled, empty_directories=True)
    (pulled / "file").chmod(0o644)
    (pulled / "empty").rmdir()
    verify_pull(source, pulled, empty_directories=False)
    with pytest.raises(RuntimeError, match="same paths"):
        verify_pull(source, pulled, empty_directories=True)


def test_what_people_wrote_below_the_marker_is_kept(tmp_path: Path) -> None:
    """A new run replaces the figures and nothing else."""
    from report import CaseResult, Results, load_results, write_report
    from works import Sample

    sample = Sample("startup", "jvs --help", "jvs", 0, 0.05, 0.04, 0)
    results = Results("full", {"processor": "one"}, {}, {"startup": CaseResult("today", {}, [sample])})
    write_report(results, tmp_path)
    page = tmp_path / "RESULTS.md"
    page.write_text(page.read_text() + "\nWhere the time goes: nowhere.\n")
    write_report(results, tmp_path)
    write_report(results, tmp_path)
    assert page.read_text().count("Where the time goes") == 1
    assert page.read_text().count("| CPU time of `jvs --help` | <= 60 ms | met | 40 ms |") == 1
    assert load_results(tmp_path / "RESULTS.json") == results


def test_memory_and_failure_of_a_command() -> None:
    """Peak memory is seen, also in a child; a failed command is not a measurement."""
    from measure import CommandFailed, run_command

    grandchild = "import time; hold = bytearray(64 << 20); time.sleep(0.4)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}])"
    cost = run_command([sys.executable, "-c", child])
    assert cost.anonymous > 64 << 20
    assert cost.wall > 0.4
    assert cost.cpu < cost.wall
    with pytest.raises(CommandFailed, match="exit status 3"):
        run_command([sys.executable, "-c", "raise SystemExit(3)"])


def test_run_says_what_it_can_do() -> None:
    """The command starts, and refuses a peer it does not know with the ones it does."""
    run = [sys.executable, str(BENCHMARKS / "run.py")]
    assert "--quick" in subprocess.run([*run, "--help"], capture_output=True, text=True, check=True).stdout
    wrong = subprocess.run([*run, "--smoke", "--peers", "svn"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 1
    assert "git,restic,borg,tar" in wrong.stderr
