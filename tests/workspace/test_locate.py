"""Which store a command means."""

from __future__ import annotations

from pathlib import Path

import pytest

from jvs.castore.settings import StoreSettings
from jvs.errors import NoStoreError, UsageError
from jvs.workspace.locate import find_store, init_path
from jvs.workspace.repo import Repo


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "work" / ".jvs"
    Repo.init(str(path), StoreSettings())
    return path


def test_the_option_beats_the_environment_beats_the_nearest(store: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    Repo.init(str(other), StoreSettings())
    below = store.parent / "a" / "b"
    below.mkdir(parents=True)
    assert find_store(None, None, str(below)) == str(store)
    assert find_store(None, str(other), str(below)) == str(other)
    assert find_store(str(store), str(other), str(below)) == str(store)


def test_a_path_is_the_store_or_what_holds_it(store: Path) -> None:
    assert find_store(str(store), None, "/") == str(store)
    assert find_store(str(store.parent), None, "/") == str(store)


@pytest.mark.parametrize(
    ("explicit", "code"), [("nowhere", "no-store"), ("work/plain", "not-a-store")], ids=["absent", "plain"]
)
def test_what_is_no_store_is_named(store: Path, tmp_path: Path, explicit: str, code: str) -> None:
    (store.parent / "plain").mkdir()
    with pytest.raises(NoStoreError) as caught:
        find_store(str(tmp_path / explicit), None, "/")
    assert caught.value.code == code
    assert caught.value.exit_status == 10
    assert explicit in caught.value.message


def test_no_store_anywhere(tmp_path: Path) -> None:
    with pytest.raises(NoStoreError) as caught:
        find_store(None, None, str(tmp_path))
    assert caught.value.code == "no-store"
    assert caught.value.next == "jvs fs init"


def test_urls_are_refused_not_taken_for_paths() -> None:
    with pytest.raises(UsageError):
        find_store("s3://bucket/store", None, "/")
    with pytest.raises(UsageError):
        init_path("http://host/store", None, None, "/")


def test_where_init_makes_a_store(store: Path, tmp_path: Path) -> None:
    here = str(tmp_path)
    assert init_path(None, None, None, here) == str(tmp_path / ".jvs")
    assert init_path(None, None, str(tmp_path / "env"), here) == str(tmp_path / "env")
    assert init_path(None, str(tmp_path / "option"), str(tmp_path / "env"), here) == str(tmp_path / "option")
    assert init_path(str(tmp_path / "operand"), str(tmp_path / "option"), None, here) == str(tmp_path / "operand")
    assert init_path(str(store.parent), None, None, here) == str(store)
    assert init_path(str(store), None, None, here) == str(store)
