"""Mounts by the command line: what is printed, exit statuses, and jvs inside of a mount."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from jvs.overlay.fuse import mounting
from tests.blackbox.conftest import CODE, Jvs
from tests.overlay.fuse.support import needs_fuse

pytestmark = needs_fuse


@pytest.fixture
def at(jvs: Jvs) -> Iterator[Path]:
    """An empty directory beside a store with the label main; what is left mounted on it is unmounted."""
    where = jvs.where / "mount"
    where.mkdir()
    tree = jvs.where / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub/file").write_text("file\n")
    jvs("fs", "init").ok()
    jvs("fs", "push", tree, "--label", "main").ok()
    yield where
    if mounting.find(str(where)) is not None:
        mounting.detach(str(where), lazy=True)


def test_the_whole_way(jvs: Jvs, at: Path) -> None:
    jvs("fs", "open", "main", "--name", "s").ok()
    said = jvs("fs", "mount", "--session", "s", at).ok()
    assert said.out == f"mounted session s on {at}\n"
    (at / "sub/new").write_text("new\n")
    assert jvs.json("fs", "status", "s")["state"] == "mounted"
    pushed = jvs.json("fs", "push", "--session", "s", "-m", "live")
    assert (pushed["status"], pushed["generation"]) == ("advanced", 2)
    assert jvs("fs", "cat", "main:sub/new").ok().out == "new\n"
    (at / "sub/file").unlink()
    refused = jvs("fs", "drop", "s", "--force")
    assert refused.status == 11
    assert f"jvs fs unmount {at}" in refused.err
    (mount,) = jvs.json("fs", "mounts")["mounts"]
    assert (mount["mountpoint"], mount["session"], mount["state"]) == (str(at), "s", "live")
    assert jvs.json("fs", "unmount", "--session", "s") == {"mountpoint": str(at)}
    assert jvs.json("fs", "mounts") == {"mounts": []}
    pushed = jvs.json("fs", "push", "--session", "s")  # not mounted any more
    assert pushed["generation"] == 3
    assert jvs("fs", "cat", "main:sub/file").status == 5


def test_after_kill_9(jvs: Jvs, at: Path) -> None:
    jvs("fs", "open", "main", "--name", "s").ok()
    mount = jvs.json("fs", "mount", "--session", "s", at)
    (at / "kept").write_text("kept\n")
    os.kill(mount["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 30
    while jvs.json("fs", "mounts")["mounts"][0]["state"] != "dead":
        assert time.monotonic() < deadline
    again = jvs("fs", "mount", "main", at)
    assert again.status == 1
    assert f"jvs fs unmount {at}" in again.err
    assert jvs.json("fs", "status", "s")["counts"] == {"added": 1}  # also while the mount is still there
    jvs("fs", "unmount", at).ok()
    jvs("fs", "mount", "--session", "s", at).ok()
    assert (at / "kept").read_text() == "kept\n"
    jvs("fs", "unmount", at).ok()


def test_jvs_inside_of_a_mount(jvs: Jvs, at: Path) -> None:
    jvs("fs", "mount", "main", at).ok()
    done = subprocess.run(
        [sys.executable, "-c", CODE, "fs", "ls", "-q"],
        cwd=at / "sub",
        env=jvs.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "main\n"), done.stderr
    jvs("fs", "unmount", at).ok()


def test_a_session_is_pushed_by_its_name(jvs: Jvs, at: Path) -> None:
    jvs("fs", "open", "main", "--name", "work").ok()
    jvs("fs", "mount", "--session", "work", at).ok()
    refused = jvs("fs", "push", at)
    assert (refused.status, refused.err.splitlines()) == (
        2,
        [
            "error: the session work is mounted there, and is pushed by its name",
            "next: jvs fs push --session work (or, as a directory: --label NAME)",
        ],
    )
    jvs("fs", "unmount", at).ok()


@pytest.mark.parametrize(("number", "used"), [(signal.SIGINT, False), (signal.SIGTERM, True)])
def test_in_the_foreground(jvs: Jvs, at: Path, number: int, used: bool) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, "fs", "mount", "main", "mount", "--foreground"],
        cwd=jvs.where,
        env=jvs.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"mounted main on {at} (read-only)\n"
        assert (at / "sub/file").read_text() == "file\n"
        fd = os.open(at / "sub/file", os.O_RDONLY) if used else -1
        process.send_signal(number)
        assert process.wait(60) == 0
        if used:
            with pytest.raises(OSError) as caught:
                os.fsync(fd)
            assert caught.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)  # rather than waiting for ever
            with suppress(OSError):
                os.close(fd)
    assert mounting.find(str(at)) is None
    assert jvs.json("fs", "mounts") == {"mounts": []}


def test_who_is_impatient_leaves_no_dead_mount(jvs: Jvs, at: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, "fs", "mount", "main", "mount", "--foreground"],
        cwd=jvs.where,
        env=jvs.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"mounted main on {at} (read-only)\n"
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.002)
    assert process.returncode == 0
    assert mounting.find(str(at)) is None


def test_all_labels(jvs: Jvs, at: Path) -> None:
    jvs("fs", "label", "agent/1", "main").ok()
    jvs("fs", "mount", "--all", at).ok()
    assert sorted(os.listdir(at)) == ["agent", "main"]
    assert (at / "agent/1/sub/file").read_text() == (at / "main@1/sub/file").read_text() == "file\n"
    jvs("fs", "unmount", at).ok()


def test_what_is_refused(jvs: Jvs, at: Path) -> None:
    for words, status in (
        (("fs", "mount", "main"), 2),
        (("fs", "mount", "main", at, "--all"), 2),
        (("fs", "mount", at, "--all", "--session", "s"), 2),
        (("fs", "mount", "nothing", at), 5),
        (("fs", "mount", at, "--session", "nothing"), 5),
        (("fs", "mount", "main", jvs.where / "tree"), 1),
        (("fs", "mount", "main", jvs.where / "tree/sub/file"), 2),
        (("fs", "unmount", at), 5),
        (("fs", "unmount", "--session", "nothing"), 5),
        (("fs", "unmount"), 2),
    ):
        done = jvs(*words)
        assert done.status == status, (words, done.err)
        assert done.err.startswith("error: ")
    assert jvs.json("fs", "mounts") == {"mounts": []}


def test_a_mount_in_use(jvs: Jvs, at: Path) -> None:
    jvs("fs", "mount", "main", at).ok()
    with open(at / "sub/file") as file:
        busy = jvs("fs", "unmount", at)
        assert busy.status == 11
        assert "--force" in busy.err
        jvs("fs", "unmount", "--force", at).ok()
        assert file.read() == "file\n"
