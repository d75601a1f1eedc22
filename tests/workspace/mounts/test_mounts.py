"""The life of mounts: beginning, ending, being killed; what `.jvs` says; pins; pushes under a live mount."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from jvs.errors import JvsError
from jvs.overlay.fuse import mounting
from jvs.workspace.locate import find_store
from jvs.workspace.mounts import MountRequest, list_mounts, mount, unmount
from jvs.workspace.repo import Repo
from jvs.workspace.sessions import drop_session, push_session, session_status
from tests.overlay.fuse.support import calm, mounted, needs_fuse, new_session, push, session, store_of
from tests.overlay.support import on_disk

pytestmark = needs_fuse
GONE = (errno.ENOTCONN, errno.ECONNABORTED)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/file").write_text("file\n")
    (root / "a/large").write_bytes(os.urandom(300_000))
    (root / "top").write_text("top\n")
    (root / "link").symlink_to("a/b/file")
    return root


@pytest.fixture
def store(tmp_path: Path, tree: Path) -> Path:
    return store_of(tmp_path, tree)


def code_of(mount_point: Path, store: Path, **what: str) -> str:
    with pytest.raises(JvsError) as caught:
        mount(str(store), MountRequest(str(mount_point), **what), actor="x")  # type: ignore[arg-type]
    return caught.value.code


def kill(store: Path) -> None:
    """kill -9 of the one process that serves a mount."""
    (info,) = list_mounts(str(store))
    os.kill(info.pid, signal.SIGKILL)
    while list_mounts(str(store))[0].state == "live":
        time.sleep(0.01)


def test_a_revision(tmp_path: Path, tree: Path, store: Path) -> None:
    with mounted(store, tmp_path / "m", revision="main") as where:
        assert on_disk(where) == on_disk(tree)
        assert ".jvs" not in os.listdir(where)
        assert (where / ".jvs/label").read_text() == "main\n"
        assert (where / ".jvs/generation").read_text() == "1\n"
        assert (where / ".jvs/changes").read_text() == ""
        assert (where / ".jvs/store").read_text() == f"{store}\n"
        (info,) = list_mounts(str(store))
        assert (where / ".jvs/base").read_text() == f"{info.ca_id}\n"
        assert (info.mountpoint, info.what, info.readonly, info.state) == (str(where), "main", True, "live")
        refused: list[Callable[[], Any]] = [
            (where / "new").touch,
            (where / "top").unlink,
            lambda: os.chmod(where, 0),
            lambda: os.rename(where / "top", where / "other"),
        ]
        for call in refused:
            with pytest.raises(OSError) as caught:
                call()
            assert caught.value.errno == errno.EROFS
        assert find_store(None, None, str(where / "a/b")) == str(store)
    assert list_mounts(str(store)) == []
    assert os.listdir(tmp_path / "m") == []


@pytest.mark.parametrize("name", ["a, b", "back\\slash", "tab\tnew\nline", "ünï", os.fsdecode(b"\xff"), "-o"])
def test_places_of_any_name(tmp_path: Path, tree: Path, name: str) -> None:
    top = tmp_path / name
    top.mkdir()
    store = store_of(tmp_path if "\udcff" in name else top, tree)  # LMDB wants UTF-8
    with mounted(store, top / name, revision="main") as where:
        assert (where / "top").read_text() == "top\n"
        assert [info.mountpoint for info in list_mounts(str(store))] == [str(where)]
        assert os.fsdecode((where / ".jvs/store").read_bytes()) == f"{store}\n"
    assert list_mounts(str(store)) == []


def test_part_of_a_revision_and_an_older_one(tmp_path: Path, tree: Path, store: Path) -> None:
    (tree / "top").write_text("newer\n")
    push(store, tree)
    with (
        mounted(store, tmp_path / "m", revision="main@{1}") as old,
        mounted(store, tmp_path / "n", revision="main:a") as part,
    ):
        assert (old / "top").read_text() == "top\n"
        assert on_disk(part) == on_disk(tree / "a")
        assert (part / ".jvs/label").read_text() == ""
        assert len(list_mounts(str(store))) == 2


def test_where_it_cannot_be_mounted(tmp_path: Path, store: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    assert code_of(tmp_path / "full", store, revision="main") == "already-exists"
    assert code_of(tmp_path / "full/file", store, revision="main") == "not-a-directory"
    assert code_of(tmp_path / "none", store, revision="main") == "not-a-directory"
    assert code_of(tmp_path / "none", store, revision="main", session="s") == "not-a-directory"
    (tmp_path / "empty").mkdir()
    assert code_of(tmp_path / "empty", store, revision="nothing") == "unknown-label"
    assert code_of(tmp_path / "empty", store, session="nothing") == "unknown-session"
    assert code_of(tmp_path / "empty", store, revision="main", session="s") == "usage"
    with mounted(store, tmp_path / "empty", revision="main") as where:
        assert code_of(where, store, revision="main") == "already-exists"
    with pytest.raises(JvsError) as caught:
        unmount(str(tmp_path / "empty"))
    assert caught.value.code == "unknown-path"
    assert list_mounts(str(store)) == []


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(JvsError) as caught:
        mounting.check_possible()
    assert caught.value.code == "missing-extra"
    assert "apt install fuse3" in str(caught.value.next)
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(JvsError) as caught:
        mounting.check_possible()
    assert caught.value.code == "unsupported-platform"


def test_whoever_mounts_gets_his_streams_back(tmp_path: Path, store: Path) -> None:
    (tmp_path / "m").mkdir()
    words = ["fs", "mount", "main", str(tmp_path / "m"), "--store", str(store)]
    code = "from jvs.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    (info,) = list_mounts(str(store))
    assert os.getsid(info.pid) == info.pid  # no terminal, either
    assert all(os.readlink(f"/proc/{info.pid}/fd/{fd}") == os.devnull for fd in range(3))
    assert os.readlink(f"/proc/{info.pid}/cwd") == "/"
    unmount(str(tmp_path / "m"))


def test_a_mount_in_use(tmp_path: Path, store: Path) -> None:
    with mounted(store, tmp_path / "m", revision="main") as where:
        with open(where / "top") as file:
            with pytest.raises(JvsError) as caught:
                unmount(str(where))
            assert caught.value.code == "locked"
            unmount(str(where), force=True)
            assert os.listdir(where) == []
            assert file.read() == "top\n"  # served until it is closed
            assert len(list_mounts(str(store))) == 1
        deadline = time.monotonic() + 30
        while list_mounts(str(store)) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert list_mounts(str(store)) == []


def test_a_link_to_a_mount_point(tmp_path: Path, store: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("mount")
    with mounted(store, tmp_path / "mount", revision="main") as where:
        assert unmount(str(link)) == str(where)
        assert os.listdir(where) == []
    new_session(store, "s")
    with mounted(store, tmp_path / "mount", session="s") as where:
        kill(store)
        assert unmount(str(link)) == str(where)


def test_a_signal_ends_it_whoever_uses_it(tmp_path: Path, store: Path) -> None:
    new_session(store, "s")
    with mounted(store, tmp_path / "m", session="s") as where:
        fd = os.open(where / "new", os.O_CREAT | os.O_WRONLY)
        os.write(fd, b"written")
        os.kill(list_mounts(str(store))[0].pid, signal.SIGTERM)
        deadline = time.monotonic() + 30
        while list_mounts(str(store)) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert mounting.find(str(where)) is None
        with pytest.raises(OSError) as caught:
            os.close(fd)
        assert caught.value.errno in GONE
        with Repo.open(str(store), actor="x") as repo:
            assert [change.path for change in session_status(repo, "s").changes] == [b"new"]


def test_a_pinned_revision_outlives_its_label(tmp_path: Path, tree: Path, store: Path) -> None:
    with Repo.open(str(store), actor="x") as repo:
        repo.set_retention(["keep-last 1"])
        with mounted(store, tmp_path / "m", revision="main") as where:
            before = on_disk(tree)
            repo.delete_label("main")
            (tree / "top").write_text("newer\n")
            push(store, tree, "other")
            repo.gc_run()
            assert on_disk(where) == before


def test_a_session_keeps_what_was_done(tmp_path: Path, tree: Path, store: Path) -> None:
    new_session(store, "s")
    for data in ("one\n", "two\n"):
        with mounted(store, tmp_path / "m", session="s") as where:
            assert (where / ".jvs/session").read_text() == "s\n"
            with open(where / "grows", "a") as file:
                file.write(data)
            (where / "a/b/file").write_text(data)
    (tree / "grows").write_text("one\ntwo\n")
    (tree / "a/b/file").write_text("two\n")
    push(store, tree, "expected")
    with Repo.open(str(store), actor="x") as repo:
        assert calm(store) == repo.labels.require("expected").ca_id.hex()


def test_a_session_read_only(tmp_path: Path, store: Path) -> None:
    new_session(store, "s")
    (tmp_path / "m").mkdir()
    mount(str(store), MountRequest(str(tmp_path / "m"), session="s", readonly=True), actor="x")
    try:
        with pytest.raises(OSError) as caught:
            (tmp_path / "m/new").touch()
        assert caught.value.errno == errno.EROFS
        assert (tmp_path / "m/top").read_text() == "top\n"
    finally:
        unmount(str(tmp_path / "m"))


def test_kill_9_loses_nothing_that_was_closed(tmp_path: Path, tree: Path, store: Path) -> None:
    new_session(store, "s")
    with mounted(store, tmp_path / "m", session="s") as where:
        fd = os.open(where / "a/large", os.O_RDWR)
        os.pwrite(fd, b"synced", 100_000)
        os.fsync(fd)
        os.pwrite(fd, b"unsynced", 200_000)
        (where / "new").write_text("closed\n")
        os.rename(where / "a/b", where / "moved")
        kill(store)
        with pytest.raises(OSError) as caught:
            os.stat(where / "new")
        assert caught.value.errno in GONE
        with suppress(OSError):
            os.close(fd)
        assert code_of(where, store, session="s") == "already-exists"
        assert unmount(str(where)) == str(where)
    assert list_mounts(str(store)) == []
    with mounted(store, tmp_path / "m", session="s") as where:
        data = (tree / "a/large").read_bytes()
        assert (where / "a/large").read_bytes()[:200_000] == data[:100_000] + b"synced" + data[100_006:200_000]
        assert (where / "new").read_text() == "closed\n"
        assert (where / "moved/file").read_text() == "file\n"
        assert not (where / "a/b").exists()


def test_kill_9_in_the_middle_of_writes(tmp_path: Path, store: Path) -> None:
    new_session(store, "s")
    script = (
        "import os, sys\n"
        "for n in range(10**6):\n"
        "    fd = os.open(f'{sys.argv[1]}/{n}', os.O_CREAT | os.O_WRONLY)\n"
        "    os.write(fd, b'x' * 5000)\n"
        "    if n % 10 == 0: os.fsync(fd)\n"
        "    os.close(fd)\n"
        "    print(n, flush=True)\n"
    )
    with mounted(store, tmp_path / "m", session="s") as where:
        writer = subprocess.Popen(
            [sys.executable, "-c", script, str(where)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert writer.stdout is not None
        while int(writer.stdout.readline()) < 100:
            pass
        kill(store)
        acknowledged = [int(line) for line in writer.stdout.read().split()]
        writer.stdout.close()
        writer.wait(30)
        unmount(str(where))
    with mounted(store, tmp_path / "m", session="s") as where:
        for number in range(max(acknowledged, default=100) + 1):
            assert (where / str(number)).read_bytes() == b"x" * 5000


def test_a_mounted_session_is_not_dropped(tmp_path: Path, store: Path) -> None:
    new_session(store, "s")
    with mounted(store, tmp_path / "m", session="s"), Repo.open(str(store), actor="x") as repo:
        for force in (False, True):
            with pytest.raises(JvsError) as caught:
                drop_session(repo, "s", force=force)
            assert caught.value.code == "locked"
            assert "unmount" in str(caught.value.next)
        assert code_of(tmp_path / "tree/a", store, session="s") == "already-exists"  # not empty
        (tmp_path / "other").mkdir()
        assert code_of(tmp_path / "other", store, session="s") == "locked"


def test_a_push_with_the_mount_live(tmp_path: Path, tree: Path, store: Path) -> None:
    import mmap

    new_session(store, "s")
    with mounted(store, tmp_path / "m", session="s") as where, Repo.open(str(store), actor="x") as repo:
        (where / "new").write_bytes(bytes(10_000))
        with open(where / "new", "r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
            mapping[5:10] = b"dirty"  # in no call that anybody could have seen
            assert (where / ".jvs/changes").read_text() == "added new\n"
            done = push_session(repo, "s", message="one")
            assert (done.push.status, done.push.generation) == ("advanced", 2)
            assert b"".join(repo.cat("main:new"))[:12] == bytes(5) + b"dirty" + bytes(2)
            assert (where / ".jvs/changes").read_text() == ""
            assert (where / ".jvs/generation").read_text() == "2\n"
            mapping[5:10] = b"again"
        assert push_session(repo, "s").push.generation == 3
        assert b"".join(repo.cat("main:new"))[5:10] == b"again"
        assert (where / ".jvs/base").read_text() == repo.labels.require("main").ca_id.hex() + "\n"


def test_a_push_that_merges_under_a_live_mount(tmp_path: Path, tree: Path, store: Path) -> None:
    (tree / "kept").write_text("kept\n")
    (tree / "goes").mkdir()
    (tree / "goes/x").touch()
    push(store, tree)
    new_session(store, "s")
    with mounted(store, tmp_path / "m", session="s") as where, Repo.open(str(store), actor="x") as repo:
        for path in ("top", "a/b/file", "kept", "link", "goes/x"):  # so that the kernel knows them
            (where / path).read_bytes()
        assert not (where / "theirs").exists()
        assert not (where / "a/theirs").exists()
        os.listdir(where)
        inside = os.open(where / "a", os.O_RDONLY)
        same = [(where / path).lstat() for path in ("kept", "a/large", "link")]
        log = open(where / "log", "w", buffering=1)  # noqa: SIM115  # closed below
        log.write("before\n")
        (where / "mine").write_text("mine\n")
        with open(where / "top") as old:
            (tree / "top").write_text("changed by them\n")
            (tree / "theirs").write_text("theirs\n")
            (tree / "a/theirs").write_text("theirs\n")
            (tree / "a/b/file").unlink()
            (tree / "goes/x").unlink()
            (tree / "goes").rmdir()
            push(store, tree)
            done = push_session(repo, "s", merge=True)
            assert done.push.error is None
            assert done.merge is not None
            assert old.read() == "top\n"  # still what was opened
        (tree / "mine").write_text("mine\n")
        (tree / "log").write_text("before\n")
        assert on_disk(where) == on_disk(tree)
        assert os.listdir(inside) == ["b", "large", "theirs"]
        assert [(where / path).lstat() for path in ("kept", "a/large", "link")] == same
        for entry in os.scandir(where):
            assert entry.inode() == os.lstat(entry.path).st_ino
        os.close(inside)
        log.write("after\n")
        log.close()
        assert (where / "log").read_text() == "before\nafter\n"
        assert (where / ".jvs/changes").read_text() == "modified log\n"
        (where / "theirs").write_text("mine now\n")
        assert push_session(repo, "s").push.error is None
        assert b"".join(repo.cat("main:theirs")) == b"mine now\n"
        assert b"".join(repo.cat("main:log")) == b"before\nafter\n"


def test_all_labels(tmp_path: Path, tree: Path, store: Path) -> None:
    push(store, tree, "agent/1")
    push(store, tree, "agent/two/x")
    with mounted(store, tmp_path / "m") as where, Repo.open(str(store), actor="x") as repo:
        assert sorted(os.listdir(where)) == ["agent", "main"]
        assert sorted(os.listdir(where / "agent")) == ["1", "two"]
        assert on_disk(where / "main") == on_disk(where / "agent/1") == on_disk(where / "agent/two/x") == on_disk(tree)
        assert (where / ".jvs/store").read_text() == f"{store}\n"
        assert (where / "agent/1/.jvs/label").read_text() == "agent/1\n"
        assert not (where / "nothing").exists()
        assert not (where / repo.labels.require("main").ca_id.hex()).exists()
        assert not (where / "main:a").exists()
        held = os.open(where / "main", os.O_RDONLY)
        (tree / "top").write_text("newer\n")
        push(store, tree)
        push(store, tree, "added")
        deadline = time.monotonic() + 30
        while (where / "main/top").read_text() != "newer\n":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        while "added" not in os.listdir(where):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert (where / "main@{1}/top").read_text() == (where / "main@1/top").read_text() == "top\n"
        assert (where / "main/.jvs/generation").read_text() == "2\n"
        fd = os.open("top", os.O_RDONLY, dir_fd=held)  # whoever works in the old tree goes on doing so
        assert os.read(fd, 100) == b"top\n"
        os.close(fd)
        os.close(held)
        with pytest.raises(OSError) as caught:
            os.mkdir(where / "x")
        assert caught.value.errno == errno.EROFS


def test_a_disk_that_is_full(tmp_path: Path, tree: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        with session(disk, tree) as where:
            with pytest.raises(OSError) as caught:
                (where / "huge").write_bytes(bytes(range(256)) * 409_600)
            assert caught.value.errno == errno.ENOSPC
            assert (where / "top").read_text() == "top\n"
            os.unlink(where / "huge")
            (where / "small").write_text("small\n")
            assert (where / "small").read_text() == "small\n"
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_of_two_who_mount_in_one_place_one_is_told(tmp_path: Path, store: Path) -> None:
    (tmp_path / "m").mkdir()
    code = "from jvs.cli.main import main; main()"
    words = ["fs", "mount", "main", str(tmp_path / "m"), "--store", str(store)]
    both = [subprocess.Popen([sys.executable, "-c", code, *words], stderr=subprocess.DEVNULL) for _ in range(2)]
    try:
        assert sorted(one.wait(60) for one in both) == [0, 1]
        assert len(list_mounts(str(store))) == 1
    finally:
        unmount(str(tmp_path / "m"))


SOMEBODY = "import os, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
"""What a test that began as root, which may read this Python, does then: it becomes nobody."""


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become somebody else")
def test_somebody_else_mounts_what_is_his(tmp_path: Path, tree: Path) -> None:
    if not os.stat("/dev/fuse").st_mode & 0o002:
        pytest.skip("/dev/fuse is root's alone here")
    home = tmp_path / "home"
    (home / "m").mkdir(parents=True)
    first = tmp_path / "first"
    (first / "m").mkdir(parents=True)
    for top in (first, home):
        new_session(store_of(top, tree), "s")
    for above in (tmp_path, *tmp_path.parents[:2]):
        above.chmod(0o755)
    subprocess.run(["chown", "-R", "65534:65534", home], check=True)
    serve = (
        "import sys\n"
        "from jvs.workspace.mounts import MountRequest\n"
        "from jvs.workspace.repo import Repo\n"
        "def serve(top, work):\n"
        "    with Repo.open(top + '/store', actor='x') as repo:\n"
        "        with LiveMount(repo, MountRequest(top + '/m', session='s')):\n"
        "            work()\n"
        "serve(sys.argv[1], lambda: None)\n"  # after which everything is imported
        f"{SOMEBODY}"
        "serve(sys.argv[2], lambda: (print('ready', flush=True), sys.stdin.read()))\n"
    )
    words = [sys.executable, "-c", serve, str(first), str(home)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        work = (
            f"{SOMEBODY}"
            "os.chdir(sys.argv[1]); open('mine', 'w').close(); os.chmod('mine', 0)\n"
            "try: open('mine')\n"
            "except PermissionError: print('kept out')\n"
            "try: os.chown('mine', 0, 0)\n"
            "except PermissionError: print('no gifts')\n"
            "print(os.stat('mine').st_uid)\n"
        )
        said = subprocess.run([sys.executable, "-c", work, home / "m"], capture_output=True, text=True, timeout=60)
        with pytest.raises(PermissionError):  # not even root may look, unless it is let
            os.listdir(home / "m")
        server.communicate("")
    assert said.stdout.split("\n") == ["kept out", "no gifts", "65534", ""], said.stderr
    assert server.returncode == 0
    assert os.listdir(home / "m") == []
