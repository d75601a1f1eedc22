"""Where things of a repository lie, and which worktree a path is in."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from jvs.castore import binding as bindings
from jvs.castore.binding import Binding
from jvs.errors import IntegrityError, LockedError, NoStoreError, UnknownError, UsageError
from jvs.labels.names import check_label_name
from jvs.labels.store import wall_clock
from jvs.workspace.repo import Repo
from jvs.workspace.repository import position
from jvs.workspace.repository.initialising import init
from jvs.workspace.repository.layout import (
    Layout,
    Place,
    check_worktree_name,
    find_layout,
    label_for,
    layout_at,
    near_layout,
    place_of,
)
from jvs.workspace.repository.worktrees import Registry, Worktree, new_worktree


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    init(str(tmp_path / "r"), engine="copy")
    found = layout_at(str(tmp_path / "r"))
    assert found is not None
    return found


@pytest.fixture
def adopted(tmp_path: Path) -> Layout:
    (tmp_path / "a").mkdir()
    init(str(tmp_path / "a"), adopt=True, engine="copy")
    found = layout_at(str(tmp_path / "a"))
    assert found is not None
    return found


def add(layout: Layout, name: str) -> str:
    """A worktree `name` that is registered, and its directory."""
    Registry(layout).put(new_worktree(name, at_ms=wall_clock(), base=None, engine="copy"))
    path = layout.path(name)
    os.makedirs(os.path.join(path, "deep", "er"))
    return path


def test_where_a_path_is(layout: Layout) -> None:
    exp = add(layout, "exp")
    for name, path in (("main", layout.path("main")), ("exp", exp)):
        assert layout.around(path) == name
        assert layout.around(os.path.join(path, "deep", "er")) == name
        assert place_of(path) == Place(layout, name)
    for path in (layout.root, layout.control, layout.worktrees, layout.record("main"), os.path.dirname(layout.root)):
        assert layout.around(path) is None
        assert place_of(path) is None
    assert place_of(os.path.join(exp, "deep")) is None
    assert place_of(layout.record("main")) is None


def test_where_a_path_is_in_an_adopted_folder(adopted: Layout) -> None:
    exp = add(adopted, "exp")
    assert os.path.dirname(exp) == os.path.join(adopted.root, ".jvs-worktrees")
    assert adopted.around(adopted.root) == "main"
    assert adopted.around(os.path.join(adopted.root, "worktrees")) == "main"
    assert adopted.around(os.path.join(exp, "deep")) == "exp"
    assert adopted.around(adopted.worktrees) is None
    assert adopted.around(adopted.control) is None
    assert place_of(adopted.root) == Place(adopted, "main")
    assert place_of(exp) == Place(adopted, "exp")


def test_worktrees_of_an_adopted_folder_are_no_content_of_it(adopted: Layout) -> None:
    exp = add(adopted, "exp")
    Path(exp, "f").write_text("x")
    Path(adopted.root, "own").write_text("x")
    with Repo.open(adopted.store(), actor="ada") as repo:
        repo.push(adopted.root)
        assert [item.path for item in repo.tree("main").entries] == [b"own"]
        repo.pull("main", adopted.root)
    assert Path(exp, "f").read_text() == "x"


def test_a_directory_that_is_not_registered_is_no_worktree(layout: Layout) -> None:
    stray = os.path.join(layout.worktrees, "stray")
    os.mkdir(stray)
    assert place_of(stray) is None
    assert not Registry(layout).has("stray")
    with pytest.raises(UnknownError, match="not found"):
        Registry(layout).get("stray")


def test_a_repository_in_a_worktree_is_one_of_its_own(layout: Layout) -> None:
    inner = os.path.join(layout.path("main"), "inner")
    init(inner, engine="copy")
    assert find_layout(None, os.path.join(inner, "main")).root == inner
    assert find_layout(None, layout.path("main")).root == layout.root


def test_a_control_directory_that_is_half_made_is_none(layout: Layout) -> None:
    os.rename(os.path.join(layout.control, "format_version"), os.path.join(layout.control, "creating"))
    assert layout_at(layout.root) is None
    assert near_layout(layout.root) is None
    with pytest.raises(NoStoreError):
        find_layout(None, layout.root)


@pytest.mark.parametrize(
    "name", ["main", "a", "A.b_c-d", "x" * 255, "1", "feed", ".a", "log", "tag", "autosave", "deadbeef"]
)
def test_names(name: str) -> None:
    assert check_worktree_name(name) == name
    assert check_label_name(label_for(name)).endswith(name)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "HEAD", "-a", "a/b", "a b", "a\n", "é", ".jvs", ".JVS", "." + "a" * 250, "x" * 256, "a\0"],
)
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(UsageError) as raised:
        check_worktree_name(name)
    assert raised.value.error_code == "E_NAME_INVALID"


def test_the_registry(layout: Layout) -> None:
    registry = Registry(layout)
    assert registry.names() == ["main"]
    one = Worktree("exp", "exp", "2026-11-20T10:00:00.000Z", "0" * 26, "copy")
    registry.put(one)
    registry.put(one._replace(engine="reflink-copy"))
    add(layout, "alpha")
    assert registry.names() == ["main", "alpha", "exp"]
    assert registry.get("exp") == one._replace(engine="reflink-copy")
    assert [worktree.name for worktree in registry.all()] == registry.names()
    read = json.loads(Path(layout.record("exp"), "config.json").read_text())
    assert set(read) == {"name", "label", "created_at", "base_snapshot_id", "engine"}


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"not json", b"\xff", b'{"name": 1}', b"[" * 100_000, b'{"name":"other"}', b" " * 70_000],
)
def test_a_record_that_is_damaged_is_said_to_be(layout: Layout, content: bytes) -> None:
    Path(layout.record("main"), "config.json").write_bytes(content)
    with pytest.raises(IntegrityError):
        Registry(layout).get("main")


def test_one_at_a_time(layout: Layout) -> None:
    registry = Registry(layout)
    with registry.lock(), pytest.raises(LockedError), registry.lock(wait=0.05):
        pass
    with registry.worktree_lock("main"):
        with pytest.raises(LockedError) as raised, registry.worktree_lock("main", wait=0.05):
            pass
        assert "--wait" in (raised.value.next or "")


def test_a_position_survives_what_a_cache_does_not(layout: Layout) -> None:
    place = Place(layout, "main")
    assert position.load(place) is None
    bound = Binding("main", 3, bytes(32), bytes(range(32)), detached=True)
    with Repo.open(layout.store(), actor="ada") as repo:
        position.save(repo, place, bound)
    assert position.load(place) == bound
    moved = layout.root + "-moved"
    os.rename(layout.root, moved)
    assert position.load(Place(Layout(moved, False), "main")) == bound


def test_the_record_of_another_version_is_read(layout: Layout) -> None:
    """Records written before worktrees were known have neither path nor `detached`."""
    import msgpack

    file = layout.binding("main")
    records: list[tuple[object, ...]] = [
        (1, "main", 3, bytes(32), None, None, []),
        (1, "main", 3, bytes(32), None, None, [], b"/somewhere"),
    ]
    for record in records:
        body: bytes = msgpack.packb(record)
        Path(file).write_bytes(bindings._checksum(body) + body)
        assert bindings.read(file) == Binding("main", 3, bytes(32))


def test_the_nonce_of_a_session(layout: Layout) -> None:
    assert layout.session_nonce("main") is None
    Path(layout.session("main")).write_text("abc\n")
    assert layout.session_nonce("main") == "abc"
    assert layout.session_nonce("../main") is None
    assert layout.session_nonce("nowhere") is None
