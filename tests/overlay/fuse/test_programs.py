"""Programs at work in a mount: git, a build, SQLite, rsync, tar, rm -rf; many at once."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.overlay.fuse.support import mounted, needs_fuse, session, store_of
from tests.overlay.support import on_disk

pytestmark = needs_fuse


@pytest.fixture
def where(tmp_path: Path) -> Iterator[Path]:
    """A session's mount."""
    tree = tmp_path / "tree"
    (tree / "sub/deep").mkdir(parents=True)
    for number in range(50):
        (tree / f"sub/file{number}").write_bytes(os.urandom(100 * number))
    (tree / "sub/deep/big").write_bytes(os.urandom(700_000))
    (tree / "sub/run").write_text("#!/bin/sh\necho ran\n")
    (tree / "sub/run").chmod(0o755)
    (tree / "link").symlink_to("sub/deep")
    with session(tmp_path, tree) as mount:
        yield mount


def run(*words: str | Path, cwd: Path | None = None) -> str:
    """What a command prints; fails when it fails."""
    done = subprocess.run([str(word) for word in words], cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_git(where: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(30):
        (source / f"{number}.txt").write_text(f"{number}\n")
    git = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@host", "-c", "init.defaultBranch=main"]
    run(*git, "init", "-q", source)
    run(*git, "add", ".", cwd=source)
    run(*git, "commit", "-q", "-m", "one", cwd=source)
    clone = where / "clone"
    run(*git, "clone", "-q", source, clone)
    assert run(*git, "status", "--porcelain", cwd=clone) == ""
    (clone / "3.txt").write_text("three\n")
    (clone / "new").write_text("new\n")
    assert run(*git, "status", "--porcelain", cwd=clone) == " M 3.txt\n?? new\n"
    run(*git, "checkout", "-q", "-b", "branch", cwd=clone)
    run(*git, "add", ".", cwd=clone)
    run(*git, "commit", "-q", "-m", "two", cwd=clone)
    run(*git, "gc", "-q", cwd=clone)
    run(*git, "fsck", "--strict", cwd=clone)
    run(*git, "checkout", "-q", "main", cwd=clone)
    assert (clone / "3.txt").read_text() == "3\n"
    assert run(*git, "status", "--porcelain", cwd=clone) == ""
    run("rm", "-rf", clone)
    assert not clone.exists()


@pytest.mark.skipif(shutil.which("gcc") is None or shutil.which("make") is None, reason="needs gcc and make")
def test_a_build(where: Path) -> None:
    (where / "main.c").write_text(
        '#include <stdio.h>\nint two(void);\nint main(void){printf("%d\\n",two());return 0;}\n'
    )
    (where / "two.c").write_text("int two(void){return 2;}\n")
    (where / "Makefile").write_text("main: main.o two.o\n\tgcc -o $@ $^\n%.o: %.c\n\tgcc -c -o $@ $<\n")
    run("make", "-j2", cwd=where)
    assert run("./main", cwd=where) == "2\n"  # which maps and executes it
    assert "up to date" in run("make", cwd=where)
    assert run(where / "sub/run") == "ran\n"


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_sqlite(where: Path, mode: str) -> None:
    path = where / "base.sqlite"
    with sqlite3.connect(path) as base:
        assert base.execute(f"PRAGMA journal_mode={mode}").fetchone() == (mode.lower(),)
        base.execute("CREATE TABLE t (n INTEGER)")
    script = (
        "import sqlite3, sys\n"
        "base = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)\n"
        "for n in range(25):\n"
        "    base.execute('BEGIN IMMEDIATE')\n"
        "    base.execute('INSERT INTO t VALUES (?)', (n,))\n"
        "    base.execute('COMMIT')\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, str(path)]) for _ in range(3)]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    base = sqlite3.connect(path)
    assert base.execute("SELECT count(*), sum(n) FROM t").fetchone() == (75, 900)
    assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    base.close()


@pytest.mark.skipif(shutil.which("rsync") is None, reason="needs rsync")
def test_rsync_in_and_out(where: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("rsync", "-a", f"{where}/", out)
    assert on_disk(out) == on_disk(where)
    assert not (out / ".jvs").exists()
    if os.getuid() == 0:
        os.chown(out / "sub/file1", 1234, 1234)
    run("rsync", "-a", f"{out}/", where / "in")
    assert on_disk(where / "in") == on_disk(out)
    assert run("rsync", "-a", "--itemize-changes", "--no-o", "--no-g", f"{out}/", where / "in") == ""  # times too


def test_tar_and_cp(where: Path, tmp_path: Path) -> None:
    run("tar", "-cf", tmp_path / "it.tar", "-C", where, ".")
    (where / "untarred").mkdir()
    run("tar", "-xf", tmp_path / "it.tar", "-C", where / "untarred")
    run("cp", "-a", where / "sub", where / "copied")
    assert on_disk(where / "untarred/sub") == on_disk(where / "sub") == on_disk(where / "copied")


def test_everything_can_be_removed(where: Path) -> None:
    for directory in range(5):
        (where / f"d{directory}/e").mkdir(parents=True)
        for number in range(200):
            (where / f"d{directory}/e/{number}").touch()
    run("sh", "-c", "rm -rf ./* ./.[!.]*", cwd=where)
    assert os.listdir(where) == []
    assert (where / ".jvs/label").read_text() == "main\n"
    done = subprocess.run(["rm", "-rf", where / ".jvs"], capture_output=True)
    assert done.returncode == 1  # refused, and nothing worse
    assert sorted(os.listdir(where / ".jvs")) == ["base", "changes", "generation", "label", "session", "store"]


def test_many_at_once(where: Path) -> None:
    script = (
        "import os, sys\n"
        "top, me = sys.argv[1:]\n"
        "os.mkdir(f'{top}/{me}')\n"
        "for n in range(150):\n"
        "    path = f'{top}/{me}/{n}'\n"
        "    with open(path, 'wb') as file: file.write((me * n).encode())\n"
        "    with open(path, 'rb') as file: assert file.read() == (me * n).encode()\n"
        "    with open(f'{top}/shared', 'ab', buffering=0) as file: file.write(f'{me}{n:04d}\\n'.encode())\n"
        "    if n % 3 == 0: os.rename(path, path + 'x')\n"
        "    if n % 3 == 1: os.unlink(path)\n"
    )
    names = "abcd"
    workers = [subprocess.Popen([sys.executable, "-c", script, str(where), name]) for name in names]
    big = (where / "sub/deep/big").read_bytes()
    with ThreadPoolExecutor(4) as pool:
        assert all(data == big for data in pool.map(lambda _: (where / "link/big").read_bytes(), range(20)))
    assert [worker.wait(120) for worker in workers] == [0] * 4
    for name in names:
        expected = {f"{n}x" if n % 3 == 0 else str(n) for n in range(150) if n % 3 != 1}
        assert set(os.listdir(where / name)) == expected
        assert all((where / name / one).read_text() == name * int(one.rstrip("x")) for one in expected)
    lines = (where / "shared").read_text().split()
    assert sorted(lines) == sorted(f"{name}{n:04d}" for name in names for n in range(150))


def test_many_read_the_files_of_one_directory_at_once(tmp_path: Path) -> None:
    """What the server gives unasked, and what is asked for meanwhile, are the same pages of the kernel's cache."""
    tree = tmp_path / "tree"
    for folder in ("a", "b", "c"):
        (tree / folder).mkdir(parents=True)
        for number in range(200):
            (tree / folder / f"{number:03d}").write_bytes(bytes((number % 251,)) * (number * number % 20_000))
    read = "cat */* | sha256sum"
    with mounted(store_of(tmp_path, tree), tmp_path / "mount", revision="main") as mount:
        readers = [
            subprocess.Popen(["sh", "-c", f"ls -lR >/dev/null; {read}"], cwd=mount, stdout=subprocess.PIPE)
            for _ in range(4)
        ]
        said = {reader.communicate(timeout=60)[0] for reader in readers}
    assert said == {subprocess.run(["sh", "-c", read], cwd=tree, stdout=subprocess.PIPE, check=True).stdout}
