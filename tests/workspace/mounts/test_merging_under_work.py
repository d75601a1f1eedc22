"""Pushes that merge, one after the other, while programs work in the mount: nothing hangs, nothing is stale or lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jvs.workspace.overlays import open_overlay
from jvs.workspace.repo import Repo
from jvs.workspace.sessions import push_session, session_status
from tests.overlay.fuse.support import mounted, needs_fuse, new_session, store_of
from tests.overlay.support import on_disk

pytestmark = needs_fuse

WORK = """
import errno, mmap, os, random, shutil, sys, time
top, me, seconds = sys.argv[1:]
end, r = time.monotonic() + float(seconds), random.Random(me)
os.mkdir(f"{top}/w{me}")
while time.monotonic() < end:
    path = f"{top}/{r.choice([f'w{me}', 'shared', 'shared/sub'])}/f{r.randrange(12)}"
    mine = f"{top}/w{me}/m{r.randrange(4)}"
    what = r.randrange(11)
    try:
        if what < 3:
            with open(path, "wb") as file: file.write(os.urandom(r.randrange(30000)))
        elif what == 3:
            with open(mine, "w+b") as file:
                file.truncate(5000)
                with mmap.mmap(file.fileno(), 0) as mapping:
                    mapping[10:14] = b"here"
                    assert file.seek(10) == 10 and file.read(4) == b"here"
        elif what == 4: os.unlink(path)
        elif what == 5: os.rename(path, f"{top}/shared/f{r.randrange(12)}")
        elif what == 6: [entry.stat() for entry in os.scandir(os.path.dirname(path))]
        elif what == 7:
            with open(path, "rb") as file: file.read()
        elif what == 8:
            with open(mine, "w+b", buffering=0) as file:
                file.write(b"abc")
                os.fsync(file.fileno())
                assert os.pread(file.fileno(), 9, 0) == b"abc"
        elif what == 9:
            os.makedirs(mine + "d/e")
            with open(mine + "d/e/x", "w"): pass
            assert os.listdir(mine + "d/e") == ["x"]
            shutil.rmtree(mine + "d")
            assert not os.path.exists(mine + "d")
        else: os.utime(path)
    except FileNotFoundError:
        assert not path.startswith(f"{top}/w{me}/m")
    except OSError as error:  # removed by others between being found and being opened, twice in a row (docs/mounts.md)
        assert error.errno == errno.ESTALE and path.startswith(f"{top}/shared/"), (error, path)
"""


@pytest.mark.race60
def test_pushes_that_merge_under_work(tmp_path: Path, race_seconds: float) -> None:
    tree = tmp_path / "tree"
    (tree / "shared/sub").mkdir(parents=True)
    (tree / "theirs").mkdir()
    for number in range(12):
        (tree / f"shared/f{number}").write_bytes(os.urandom(5000 * number))
    store = store_of(tmp_path, tree)
    new_session(store, "s")
    with mounted(store, tmp_path / "m", session="s") as where, Repo.open(str(store), actor="x") as repo:
        words = [sys.executable, "-c", WORK, str(where)]
        workers = [subprocess.Popen([*words, str(number), str(race_seconds)]) for number in range(3)]
        end = time.monotonic() + race_seconds
        merges = 0
        while time.monotonic() < end:
            name, text = f"theirs/t{merges % 7}", str(merges)
            with open_overlay(repo, "main") as other:
                other.write_text(name, text)
                if merges % 3 == 0:
                    other.write_text(f"shared/sub/new{merges % 5}", text)
                elif merges % 7 == 1:
                    other.unlink(f"theirs/t{(merges - 1) % 7}")
                assert other.push().push.error is None
            done = push_session(repo, "s", merge=True)
            assert done.merge is not None
            if done.merge.error is None:
                assert (where / name).read_text() == text
            session_status(repo, "s")
            merges += 1
        assert [worker.wait(120) for worker in workers] == [0, 0, 0]
        assert merges > 1
        assert push_session(repo, "s", label="final").push.error is None
        seen = on_disk(where)
        repo.pull("final", str(tmp_path / "out"))
        assert on_disk(tmp_path / "out") == seen
        assert [log.read_text() for log in (store / "mounts").glob("*.log")] == []
