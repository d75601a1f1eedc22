"""`jvs://`: addresses, what is seen, what each call pushes, and what happens when somebody else pushes meanwhile."""

from __future__ import annotations

import errno
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from jvs.castore.digest import file_digest
from jvs.errors import LabelMovedError, NoStoreError, StateError
from jvs.workspace.fsspec.filesystem import JvsFileSystem
from jvs.workspace.fsspec.locations import Location
from jvs.workspace.fsspec.stores import VIEWS, OpenStore
from jvs.workspace.overlays import open_overlay
from jvs.workspace.repo import Repo

BIG = bytes(range(256)) * 40_000
"""More than a chunk."""


def generation(repo: Repo, label: str = "main") -> int:
    return repo.labels.require(label).generation


def elsewhere(repo: Repo, path: str, data: bytes) -> None:
    """Somebody else pushes a file."""
    with open_overlay(repo, "main") as overlay:
        overlay.write_bytes(path, data)
        assert overlay.push().push.status == "advanced"


def branch(repo: Repo, label: str) -> None:
    repo.set_label(label, "main")


# -- addresses


def test_addresses(fs: JvsFileSystem, repo: Repo) -> None:
    branch(repo, "agent/1")
    fs.pipe_file("jvs://agent/1/a/one", b"two")
    ca_id = repo.labels.require("main").ca_id.hex()
    for url, content in [
        ("jvs://main/a/one", b"one"),
        ("main//a/one/", b"one"),
        ("jvs://agent/1/a/one", b"two"),
        ("jvs://agent%2F1/a/one", b"two"),
        ("jvs://agent/1@{1}/a/one", b"one"),
        ("jvs://agent/1@1/a/one", b"one"),
        (f"jvs://@{ca_id}/a/one", b"one"),
        (f"jvs://@{ca_id[:12]}/a/one", b"one"),
    ]:
        assert fs.cat_file(url) == content, url
        assert fs.info(url)["name"] == "/".join(part for part in url.removeprefix("jvs://").split("/") if part)


@pytest.mark.parametrize(
    ("url", "number"),
    [
        ("jvs://nothing/x", errno.ENOENT),
        ("jvs://main/missing", errno.ENOENT),
        ("jvs://main@{7}/a", errno.ENOENT),
        ("jvs://main@7/a", errno.ENOENT),
        ("jvs://@0123456789abcdef/a", errno.ENOENT),
        ("jvs://@12/a", errno.EINVAL),
        ("jvs://@main/a", errno.EINVAL),
        ("jvs://main/../a", errno.EINVAL),
        ("jvs://main/a/.jvs", errno.EINVAL),
        ("jvs://main/a/one/b", errno.ENOTDIR),
        ("jvs://main/" + "x" * 300, errno.EINVAL),
        ("jvs://main/a\0b", errno.EINVAL),
    ],
)
def test_what_there_is_not(fs: JvsFileSystem, url: str, number: int) -> None:
    for call in (fs.info, fs.ls, fs.cat_file, fs.open):
        with pytest.raises(OSError) as caught:
            call(url)
        assert caught.value.errno == number
    assert not fs.exists(url)
    assert not fs.isdir(url)


def test_the_root_has_the_labels(fs: JvsFileSystem, repo: Repo) -> None:
    branch(repo, "agent/1")
    branch(repo, "agent/2")
    assert fs.ls("", detail=False) == ["agent", "main"]
    assert [(one["name"], one["type"]) for one in fs.ls("jvs://agent")] == [
        ("agent/1", "directory"),
        ("agent/2", "directory"),
    ]
    assert fs.isdir("")
    assert fs.isdir("agent")
    assert fs.info("agent/1")["generation"] == 1
    assert fs.glob("agent/*/a/*") == ["agent/1/a/one", "agent/2/a/one"]
    assert fs.find("") == ["agent/1/a/one", "agent/2/a/one", "main/a/one"]


def test_which_store_is_meant(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JVS_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NoStoreError):
        fsspec.filesystem("jvs")
    monkeypatch.setenv("JVS_STORE", store)
    first = fsspec.filesystem("jvs")
    assert first is fsspec.filesystem("jvs") is fsspec.filesystem("jvs", store=store)
    other = tmp_path / "project"
    (other / "below").mkdir(parents=True)
    (other / ".jvs").symlink_to(store)
    monkeypatch.delenv("JVS_STORE")
    monkeypatch.chdir(other / "below")
    assert fsspec.filesystem("jvs") is first
    monkeypatch.chdir(tmp_path)
    assert pickle.loads(pickle.dumps(first)) == first  # noqa: S301  # where no store is to be found
    JvsFileSystem.clear_instance_cache()


# -- looking


def test_facts(fs: JvsFileSystem, repo: Repo) -> None:
    with fs.transaction():
        fs.pipe_file("main/big", BIG)
        fs.symlink("a", "main/link")
        fs.symlink("nowhere", "main/broken")
        fs.symlink("a/one", "main/one")
        fs.mkdir("main/empty")
        fs.chmod("main/big", 0o755)
    head = repo.labels.require("main")
    info = fs.info("main/big")
    assert (info["size"], info["type"], info["mode"] & 0o777, info["islink"]) == (len(BIG), "file", 0o755, False)
    assert info["digest"] == info["ETag"] == fs.ukey("main/big") == file_digest(BIG).hex()
    assert fs.checksum("main/big") == int(info["digest"], 16)
    assert fs.modified("main/big").timestamp() == fs.created("main/big").timestamp() == head.at_ms / 1000
    assert fs.info("main")["digest"] == fs.ukey("main") == head.ca_id.hex()
    listed = {one["name"]: one for one in fs.ls("main")}
    assert {name: one["type"] for name, one in listed.items()} == {
        "main/a": "directory",
        "main/big": "file",
        "main/broken": "other",
        "main/empty": "directory",
        "main/link": "other",
        "main/one": "file",
    }
    assert listed["main/one"]["destination"] == "a/one"
    assert fs.info("main/link")["type"] == "directory"
    assert (fs.exists("main/broken"), fs.lexists("main/broken"), fs.islink("main/broken")) == (False, True, True)
    assert fs.du("main/big") == len(BIG)
    assert fs.ls("main/empty") == []


def test_slices(fs: JvsFileSystem) -> None:
    fs.pipe_file("main/big", BIG)
    for start, end in [
        (0, 10),
        (5, None),
        (None, 7),
        (-5, None),
        (-9, -2),
        (2_000_000, 4_000_000),
        (9, 3),
        (0, 10**12),
    ]:
        assert fs.cat_file("main/big", start, end) == BIG[start:end]
    found = fs.cat_ranges(["main/big", "main/a/one", "main/nothing"], [0, 1, 0], [2, 3, 1], max_gap=10)
    assert found[:2] == [BIG[:2], b"ne"]
    assert isinstance(found[2], FileNotFoundError)
    assert fs.cat(["main/a/one", "main/big"])["main/big"] == BIG
    assert fs.head("main/big", 3) == BIG[:3]
    assert fs.tail("main/big", 3) == BIG[-3:]


def test_a_moved_label_is_seen_at_once(fs: JvsFileSystem, repo: Repo) -> None:
    for number in range(2 * VIEWS):
        elsewhere(repo, "a/one", b"%d" % number)
        assert fs.cat_file("main/a/one") == b"%d" % number
    assert fs.cat_file("main@{1}/a/one") == b"%d" % (2 * VIEWS - 2)


def test_an_open_file_stays_what_it_was(fs: JvsFileSystem, repo: Repo) -> None:
    fs.pipe_file("main/big", BIG)
    with fs.open("main/big") as file, fs.open("main/a/one", "r") as text:
        assert file.read(10) == BIG[:10]
        for number in range(2 * VIEWS):
            elsewhere(repo, "big", b"%d" % number)
            elsewhere(repo, "a/one", b"%d" % number)
            fs.cat_file("main/big")
        repo.set_retention(["keep-last", "1"])
        repo.gc_run()
        assert file.read() == BIG[10:]
        assert text.read() == "one"
        assert file.details["size"] == len(BIG)


def test_what_was_collected_meanwhile_is_looked_up_again(
    fs: JvsFileSystem, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.set_retention(["keep-last", "1"])
    locate = OpenStore.locate
    number = 0

    def slowly(self: OpenStore, path: str) -> Location:
        nonlocal number
        found = locate(self, path)
        if number % 2 == 0:  # by now it is something else, and what it was is gone
            elsewhere(repo, "a/one", b"%d" % number)
            repo.gc_run()
        number += 1
        return found

    monkeypatch.setattr(OpenStore, "locate", slowly)
    assert fs.cat_file("main/a/one") == b"0"
    with fs.open("main/a/one") as file:
        assert file.read() in (b"0", b"2")  # the one before may be in memory still
    fs.pipe_file("main/a/two", b"two")
    monkeypatch.undo()
    assert fs.cat_file("main/a/two") == b"two"
    with pytest.raises(FileNotFoundError, match="collected"):
        fs.cat_file("main@1/a/one")


def test_an_open_file_can_be_pickled(fs: JvsFileSystem, repo: Repo) -> None:
    with fs.open("main/a/one") as file:
        file.read(1)
        elsewhere(repo, "a/one", b"other")
        with pickle.loads(pickle.dumps(file)) as again:  # noqa: S301
            assert again.read() == b"ne"
    with fs.open("main/x", "wb") as written, pytest.raises(TypeError):
        pickle.dumps(written)


# -- writing


def calls(tmp_path: Path) -> list[tuple[str, Callable[[Any], Any]]]:
    (tmp_path / "local" / "sub").mkdir(parents=True)
    (tmp_path / "local" / "sub" / "f").write_text("f")
    (tmp_path / "local" / "g").write_text("g")
    return [
        ("pipe_file", lambda fs: fs.pipe_file("main/x/y", b"1")),
        ("pipe", lambda fs: fs.pipe({"main/p1": b"1", "main/p2": b"2"})),
        ("mkdir", lambda fs: fs.mkdir("main/d/e")),
        ("makedirs", lambda fs: fs.makedirs("main/d/f/g")),
        ("touch", lambda fs: fs.touch("main/t")),
        ("put", lambda fs: fs.put(str(tmp_path / "local"), "main/put", recursive=True)),
        ("put_file", lambda fs: fs.put_file(str(tmp_path / "local" / "g"), "main/deep/er/g")),
        ("copy", lambda fs: fs.copy("main/put", "main/copy", recursive=True)),
        ("copy files", lambda fs: fs.copy("main/put/*", "main/copied/")),
        ("cp_file", lambda fs: fs.cp_file("main@1/a/one", "main/old/one")),
        ("mv", lambda fs: fs.mv("main/copy", "main/moved", recursive=True)),
        ("mv into", lambda fs: fs.mv("main/moved", "main/d", recursive=True)),
        ("rm", lambda fs: fs.rm(["main/p1", "main/put"], recursive=True)),
        ("rm_file", lambda fs: fs.rm_file("main/p2")),
        ("rmdir", lambda fs: fs.rmdir("main/d/e")),
        ("symlink", lambda fs: fs.symlink("t", "main/link")),
        ("chmod", lambda fs: fs.chmod("main/t", 0o755)),
        ("write_text", lambda fs: fs.write_text("main/text", "text")),
    ]


def test_each_call_is_one_push(fs: JvsFileSystem, repo: Repo, tmp_path: Path) -> None:
    for number, (name, call) in enumerate(calls(tmp_path), 2):
        call(fs)
        assert generation(repo) == number, name
    assert fs.find("main", withdirs=True) == [
        "main",
        *(
            f"main/{path}"
            for path in (
                "a a/one copied copied/g d d/f d/f/g d/moved d/moved/g d/moved/sub d/moved/sub/f deep deep/er deep/er/g"
                " link old old/one t text x x/y"
            ).split()
        ),
    ]
    assert repo.labels.require("main").message == "write text"


def test_files_are_pushed_when_they_are_closed(fs: JvsFileSystem, repo: Repo) -> None:
    with fs.open("main/new/file", "wb") as file:
        file.write(b"12")
        file.flush()
        assert not fs.exists("main/new/file")
    assert fs.cat_file("main/new/file") == b"12"
    with fs.open("main/new/file", "ab") as file:
        file.write(b"34")
    with fs.open("main/new/file", "r+b") as file:
        assert file.read(1) == b"1"
        file.seek(1)
        file.write(b"x")
    with fs.open("main/new/file", "r+") as file:
        assert file.read() == "1x34"
    assert generation(repo) == 4
    for mode in ("rwb", "zb", "wxb"):
        with pytest.raises(ValueError, match="mode"):
            fs.open("main/x", mode)
    for path, mode, error in [
        ("main/missing", "r+b", FileNotFoundError),
        ("main/a", "wb", IsADirectoryError),
        ("main", "wb", IsADirectoryError),
        ("main/a/one/x", "wb", NotADirectoryError),
        ("main/a/one", "xb", FileExistsError),
        ("main/.jvs", "wb", OSError),
        ("nothing/x", "wb", FileNotFoundError),
    ]:
        with pytest.raises(error):
            fs.open(path, mode)
    assert generation(repo) == 4


def test_what_an_exception_leaves_is_not_pushed(fs: JvsFileSystem, repo: Repo) -> None:
    for mode in ("wb", "w", "ab", "r+b"):
        with pytest.raises(ZeroDivisionError), fs.open("main/a/one", mode) as file:  # noqa: PT012  # all of it is meant
            file.write("half" if mode == "w" else b"half")
            raise ZeroDivisionError
    assert generation(repo) == 1
    assert fs.cat_file("main/a/one") == b"one"


def test_what_is_fixed_is_not_written(fs: JvsFileSystem, repo: Repo, tmp_path: Path) -> None:
    ca_id = repo.labels.require("main").ca_id.hex()
    (tmp_path / "f").write_text("f")
    for top in ("main@1", "main@{0}", f"@{ca_id}"):
        refused: list[Callable[[str], object]] = [
            lambda top: fs.pipe_file(f"{top}/x", b""),
            lambda top: fs.open(f"{top}/x", "wb"),
            lambda top: fs.mkdir(f"{top}/x"),
            lambda top: fs.rm(f"{top}/a", recursive=True),
            lambda top: fs.mv(f"{top}/a/one", f"{top}/b"),
            lambda top: fs.cp_file("main/a/one", f"{top}/b"),
            lambda top: fs.put(str(tmp_path / "f"), f"{top}/f"),
        ]
        for call in refused:
            with pytest.raises(PermissionError) as caught:
                call(top)
            assert caught.value.errno == errno.EROFS
    assert generation(repo) == 1


def test_refusals(fs: JvsFileSystem, repo: Repo) -> None:
    branch(repo, "other")
    refused: list[tuple[Callable[[], object], type[OSError]]] = [
        (lambda: fs.mkdir("main/a"), FileExistsError),
        (lambda: fs.makedirs("main/a"), FileExistsError),
        (lambda: fs.mkdir("main/b/c", create_parents=False), FileNotFoundError),
        (lambda: fs.rmdir("main/a"), OSError),
        (lambda: fs.rm("main/a"), IsADirectoryError),
        (lambda: fs.rm("main/nothing"), FileNotFoundError),
        (lambda: fs.rm("main", recursive=True), OSError),
        (lambda: fs.mv("main/nothing", "main/x"), FileNotFoundError),
        (lambda: fs.mv("main/a/one", "other/x"), OSError),
        (lambda: fs.mv("main/a", "main/a/b"), OSError),
        (lambda: fs.pipe_file("main/a/one", b"", mode="create"), FileExistsError),
        (lambda: fs.mkdir("new"), FileNotFoundError),
        (lambda: fs.copy("main/nothing", "main/x"), FileNotFoundError),
    ]
    for call, error in refused:
        with pytest.raises(error):
            call()
    fs.makedirs("main/a", exist_ok=True)
    fs.makedirs("main", exist_ok=True)
    assert (generation(repo), generation(repo, "other")) == (1, 1)


def test_failures_name_addresses(fs: JvsFileSystem, repo: Repo) -> None:
    branch(repo, "other")
    failing: list[tuple[Callable[[], object], str]] = [
        (lambda: fs.open("jvs://main/missing"), "main/missing"),
        (lambda: fs.open("main@1/missing"), "main@1/missing"),
        (lambda: fs.open("main/a", "wb"), "main/a"),
        (lambda: fs.open("main/a/one", "xb"), "main/a/one"),
        (lambda: fs.cat_file("main/a/missing"), "main/a/missing"),
        (lambda: fs.mkdir("main/a"), "main/a"),
        (lambda: fs.mkdir("main"), "main"),
        (lambda: fs.rmdir("main/a"), "main/a"),
        (lambda: fs.pipe_file("main/a/one/x", b""), "main/a/one/x"),
        (lambda: fs.mv("main/missing", "main/x"), "main/missing"),
        (lambda: fs.mv("main/a/one", "nothing/x"), "nothing/x"),
        (lambda: fs.cp_file("main@1/missing", "other/x"), "main@1/missing"),
    ]
    for call, address in failing:
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.filename == address
    with fs.transaction:
        fs.pipe_file("main/x", b"")
        with pytest.raises(OSError) as caught:
            fs.pipe_file("other/x", b"")
    assert (caught.value.errno, caught.value.filename) == (errno.EXDEV, "other/x")


def test_copies_read_nothing(fs: JvsFileSystem, repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    fs.pipe_file("main/dir/big", BIG)
    branch(repo, "old")
    fs.rm("main/dir", recursive=True)

    def refuse(*_: object) -> None:
        raise AssertionError("a chunk was read")

    monkeypatch.setattr("jvs.castore.objects.ObjectStore.chunk", refuse)
    fs.copy("main@{1}/dir", "main/back", recursive=True)
    fs.cp_file("old/dir/big", "main/file")
    fs.copy("main/back", "main/again", recursive=True)
    fs.mv("main/again", "main/moved", recursive=True)
    monkeypatch.undo()
    assert fs.find("main") == ["main/a/one", "main/back/big", "main/file", "main/moved/big"]
    assert {fs.ukey(path) for path in fs.find("main") if "one" not in path} == {file_digest(BIG).hex()}
    assert fs.cat_file("main/moved/big") == BIG


def test_a_copy_follows_links(fs: JvsFileSystem) -> None:
    with fs.transaction():
        fs.symlink("a", "main/link")
    fs.cp_file("main@{0}/link/one", "main/copy")
    fs.cp_file("main/link/one", "main/copy2")
    assert fs.cat_file("main/copy") == fs.cat_file("main/copy2") == b"one"
    assert not fs.islink("main/copy")


def test_depths(fs: JvsFileSystem) -> None:
    fs.pipe({"main/d/1": b"", "main/d/e/2": b"", "main/d/e/f/3": b""})
    fs.rm("main/d", recursive=True, maxdepth=2)
    assert fs.find("main/d") == ["main/d/e/f/3"]


# -- with others


def test_others_changes_stay(fs: JvsFileSystem, repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call is done again to what the label has become meanwhile."""
    import jvs.workspace.overlays as overlays

    push, moves = overlays.RepoOverlay.push, iter(range(100))
    busy = False

    def late(self: Any, *args: Any, **options: Any) -> Any:
        nonlocal busy
        if not busy:
            busy = True
            for _ in range(2):
                elsewhere(repo, f"other{next(moves)}", b"other")
        return push(self, *args, **options)

    monkeypatch.setattr(overlays.RepoOverlay, "push", late)
    (Path(repo.store.path).parent / "g").write_text("g")
    for call in (
        lambda: fs.pipe_file("main/x", b"x"),
        lambda: fs.open("main/s", "wb").close(),
        lambda: fs.mv("main/a/one", "main/moved"),
        lambda: fs.mkdir("main/d"),
        lambda: fs.put(str(Path(repo.store.path).parent / "g"), "main/put/g"),
        lambda: fs.copy("main/d", "main/d2", recursive=True),
        lambda: fs.rm("main/d", recursive=True),
    ):
        busy = False
        before = generation(repo)
        call()
        assert generation(repo) == before + 3
    there = fs.find("main", withdirs=True)
    assert [name for name in there if "other" not in name] == [
        f"main{name}" for name in ("", "/a", "/d2", "/moved", "/put", "/put/g", "/s", "/x")
    ]
    assert len(there) == 8 + next(moves)


def test_the_last_to_close_a_file_wins_and_an_exclusive_one_never_does(fs: JvsFileSystem, repo: Repo) -> None:
    with fs.open("main/a/one", "wb") as mine:
        mine.write(b"mine")
        elsewhere(repo, "a/one", b"theirs")
        elsewhere(repo, "other", b"other")
    assert (fs.cat_file("main/a/one"), fs.cat_file("main/other")) == (b"mine", b"other")
    file = fs.open("main/new", "xb")
    elsewhere(repo, "new", b"theirs")
    with pytest.raises(FileExistsError):
        file.close()
    assert fs.cat_file("main/new") == b"theirs"


def test_what_was_edited_is_merged(fs: JvsFileSystem, repo: Repo) -> None:
    lines = [b"%d\n" % number for number in range(100)]
    fs.pipe_file("main/lines", b"".join(lines))
    with fs.open("main/lines", "r+b") as file:
        file.write(b"x")
        elsewhere(repo, "lines", b"".join([*lines, b"end\n"]))
    assert fs.cat_file("main/lines") == b"x\n" + b"".join([*lines[1:], b"end\n"])
    file = fs.open("main/a/one", "ab")
    file.write(b" mine")
    elsewhere(repo, "a/one", b"one theirs")
    with pytest.raises((StateError, LabelMovedError)) as caught:
        file.close()
    assert caught.value.code == "merge-conflict"
    assert fs.cat_file("main/a/one") == b"one theirs"


def test_a_deleted_label_takes_nothing(fs: JvsFileSystem, repo: Repo) -> None:
    file = fs.open("main/x", "wb")
    repo.delete_label("main")
    with pytest.raises(FileNotFoundError):
        file.close()
    with pytest.raises(FileNotFoundError):
        fs.pipe_file("main/x", b"")
    assert repo.list_label("main") is None
