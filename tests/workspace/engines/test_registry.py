"""Which engine is found where, and what is said of those that do not work there."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Collection
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from jvs.errors import StateError, StoreError, UnknownError, UsageError
from jvs.workspace.engines import (
    BUILT_IN,
    GROUP,
    CloneResult,
    clone_tree,
    detect_engine,
    load_engine,
    validate_engine,
)
from jvs.workspace.progress import Progress
from tests.workspace.engines import places
from tests.workspace.engines.places import Place

BEST = {"ext4": "copy", "xfs": "reflink-copy", "btrfs": "reflink-copy", "juicefs": "juicefs-clone"}
WORKS = {
    "ext4": {"copy"},
    "xfs": {"copy", "reflink-copy"},
    "btrfs": {"copy", "reflink-copy"},
    "juicefs": {"copy", "juicefs-clone"},
}


@pytest.mark.parametrize("where", list(BEST))
def test_the_best_engine_is_found_by_trying(where: str, request: pytest.FixtureRequest) -> None:
    place: Place = request.getfixturevalue(where)
    work = places.new(place, "detect")
    assert detect_engine(str(work)) == BEST[where]
    assert not os.listdir(work)


@pytest.mark.parametrize("engine", BUILT_IN)
@pytest.mark.parametrize("where", list(BEST))
def test_what_does_not_work_is_refused_with_a_reason(where: str, engine: str, request: pytest.FixtureRequest) -> None:
    place: Place = request.getfixturevalue(where)
    work = places.new(place, "validate")
    if engine in WORKS[where]:
        assert validate_engine(str(work), engine).name == engine
    else:
        with pytest.raises(StateError, match=f"^the engine {engine} cannot be used: ") as refused:
            validate_engine(str(work), engine)
        assert refused.value.code == "engine-unusable"
        assert str(work) in refused.value.message
        assert refused.value.next
    assert not os.listdir(work)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_reflinks_are_tried_where_files_have_no_temporary_kind(
    xfs: Place, ext4: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def opened(path: str, flags: int, *rest: int, **more: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(95, "Operation not supported")
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", opened)
    for place, engine in ((xfs, "reflink-copy"), (ext4, "copy")):
        work = places.new(place, "nameless")
        assert detect_engine(str(work)) == engine
        assert not os.listdir(work)


def test_a_directory_that_cannot_be_written_to_is_for_copies(xfs: Place) -> None:
    """Nothing can be tried there; nobody is kept from asking."""
    work = places.new(xfs, "readonly")
    subprocess.run(["mount", "--bind", "-o", "ro", str(work), str(work)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(work)], check=True)
        assert detect_engine(str(work)) == "copy"
        with pytest.raises(StateError, match="Read-only file system"):
            validate_engine(str(work), "reflink-copy")
    finally:
        subprocess.run(["umount", str(work)], check=True)


def test_there_must_be_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError) as refused:
        detect_engine(str(tmp_path / "file"))
    assert refused.value.code == "not-a-directory"
    with pytest.raises(StoreError):
        validate_engine(str(tmp_path / "none"), "copy")


# -- engines of other distributions


class Other:
    """An engine that a package brings."""

    name = "other"

    def probe(self, path: str) -> str | None:
        return None if os.path.exists(os.path.join(path, "yes")) else f"{path} does not say yes"

    def clone_tree(
        self,
        src: str,
        dst: str,
        *,
        skip: Collection[bytes],
        progress: Progress | None,
        cancel: threading.Event | None,
    ) -> CloneResult:
        os.mkdir(dst)
        return CloneResult(7, 0, 0, 0)


@pytest.fixture
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if distributions brought three, of which one cannot be loaded, and one has the name of a built-in one."""
    entries = [
        EntryPoint("other", f"{__name__}:Other", GROUP),
        EntryPoint("copy", f"{__name__}:Other", GROUP),
        EntryPoint("broken", "jvs.workspace.nowhere:Engine", GROUP),
    ]
    monkeypatch.setattr(
        "importlib.metadata.entry_points",
        lambda group, name: [entry for entry in entries if (entry.group, entry.name) == (group, name)],
    )
    monkeypatch.setitem(sys.modules, __name__, sys.modules[Other.__module__])


@pytest.mark.usefixtures("_installed")
def test_an_engine_from_elsewhere_is_used_where_it_is_named(tmp_path: Path) -> None:
    assert detect_engine(str(tmp_path)) in BUILT_IN
    with pytest.raises(StateError, match=r"the engine other cannot be used: .* does not say yes"):
        validate_engine(str(tmp_path), "other")
    (tmp_path / "yes").mkdir()
    assert validate_engine(str(tmp_path), "other").name == "other"
    assert clone_tree(str(tmp_path / "yes"), str(tmp_path / "dst"), engine="other", durable=True).files == 7


@pytest.mark.usefixtures("_installed")
def test_nobody_takes_the_place_of_a_built_in_one() -> None:
    assert type(load_engine("copy")).__name__ == "CopyEngine"


@pytest.mark.usefixtures("_installed")
def test_one_that_cannot_be_loaded_is_told() -> None:
    with pytest.raises(UnknownError, match="broken could not be loaded: ModuleNotFoundError") as unknown:
        load_engine("broken")
    assert unknown.value.code == "unknown-engine"


def test_one_that_nobody_brings_is_told() -> None:
    with pytest.raises(UnknownError, match="no engine called 'nonsense'") as unknown:
        load_engine("nonsense")
    assert "reflink-copy" in (unknown.value.next or "")


def test_nothing_is_looked_up_for_a_built_in_engine(tmp_path: Path) -> None:
    """`importlib.metadata` costs 20 ms."""
    (tmp_path / "src").mkdir()
    code = (
        "import sys\n"
        "from jvs.workspace.engines import clone_tree, detect_engine\n"
        f"clone_tree({str(tmp_path / 'src')!r}, {str(tmp_path / 'dst')!r}, engine=detect_engine({str(tmp_path)!r}))\n"
        "assert not {'importlib.metadata', 'ctypes', 'logging'} & set(sys.modules), sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
