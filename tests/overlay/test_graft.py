"""Taking files and directories out of another snapshot, by reference; digests of what was not touched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jvs.castore.digest import file_digest
from jvs.castore.settings import StoreSettings
from jvs.overlay.overlay import Overlay
from jvs.workspace.overlays import open_overlay
from jvs.workspace.repo import Repo

BIG = bytes(range(256)) * 40_000


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repo]:
    Repo.init(str(tmp_path / "store"), StoreSettings())
    source = tmp_path / "source"
    (source / "dir" / "deep").mkdir(parents=True)
    (source / "dir" / "deep" / "small").write_text("small")
    (source / "dir" / "big").write_bytes(BIG)
    (source / "link").symlink_to("dir")
    (source / "run").write_text("run")
    (source / "run").chmod(0o755)
    with Repo.open(str(tmp_path / "store"), actor="tester") as opened:
        opened.push(str(source), label="from")
        (tmp_path / "empty").mkdir()
        opened.push(str(tmp_path / "empty"), label="main")
        yield opened


def test_a_graft_is_what_the_snapshot_has(repo: Repo, tmp_path: Path) -> None:
    snapshot = repo.labels.require("from").ca_id
    with open_overlay(repo, "main") as fs:
        fs.mkdir("x")
        fs.graft(snapshot, "dir", "x/copy")
        fs.graft(snapshot, "dir/big", "top")
        fs.graft(snapshot, "run", "run")
        fs.graft(snapshot, "link", "link")
        fs.write_text("x/copy/deep/more", "more")
        fs.graft(snapshot, "run", "x/copy/deep/small")  # takes a file's place
        fs.push()
        pushed = fs.base
    with open_overlay(repo, "main") as fs:
        assert fs.read_bytes("top") == fs.read_bytes("x/copy/big") == BIG
        assert (fs.readlink("link"), fs.read_text("x/copy/deep/small")) == ("dir", "run")
        assert fs.stat("run").st_mode & 0o777 == 0o755
    repo.pull("main", str(tmp_path / "out"))
    assert repo.push(str(tmp_path / "out"), detach=True).ca_id == pushed


def test_it_survives_in_the_upper_layer(repo: Repo, tmp_path: Path) -> None:
    snapshot = repo.labels.require("from").ca_id
    with open_overlay(repo, "main", str(tmp_path / "upper")) as fs:
        fs.graft(snapshot, "dir", "d")
        fs.rename("d/deep/small", "small")
    with Overlay.resume(repo.objects, str(tmp_path / "upper")) as fs:
        assert fs.read_text("small") == "small"
        assert fs.read_bytes("d/big") == BIG
        assert fs.listdir("d/deep") == []


def test_what_it_refuses(repo: Repo) -> None:
    snapshot = repo.labels.require("from").ca_id
    with open_overlay(repo, "main") as fs:
        fs.mkdir("d")
        for source, target, error in [
            ("missing", "x", FileNotFoundError),
            ("run", "d", IsADirectoryError),
            ("dir", "d", FileExistsError),
            ("run", "no/x", FileNotFoundError),
            ("run", "d/.jvs", PermissionError),
            ("run", "/", OSError),
        ]:
            with pytest.raises(error):
                fs.graft(snapshot, source, target)
        assert [change.path for change in fs.changes()] == [b"d"]


def test_digests_are_of_what_was_not_touched(repo: Repo) -> None:
    with open_overlay(repo, "from") as fs:
        assert fs.digest("dir/big") == file_digest(BIG)
        assert fs.digest("/") == fs.base
        assert fs.digest("link") == fs.digest("dir") is not None
        assert fs.digest("link", follow_symlinks=False) is None
        fs.write_text("dir/deep/small", "other")
        assert fs.digest("dir/deep/small") is fs.digest("dir") is fs.digest("/") is None
        assert fs.digest("dir/big") == file_digest(BIG)
