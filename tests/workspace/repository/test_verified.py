"""What a save point adds is read back before its label moves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from jvs.castore.local.pack import HEADER
from jvs.errors import IntegrityError
from jvs.workspace.repository.initialising import init
from jvs.workspace.repository.layout import find_layout
from jvs.workspace.repository.repository import Repository
from jvs.workspace.repository.snapshot import SnapshotOptions, snapshot


@pytest.fixture
def root(tmp_path: Path) -> Path:
    init(str(tmp_path / "r"), engine="copy")
    main = tmp_path / "r" / "main"
    (main / "d").mkdir()
    (main / "d" / "small").write_bytes(os.urandom(500))
    (main / "large").write_bytes(os.urandom(300_000))
    return tmp_path / "r"


def opened(root: Path) -> Repository:
    return Repository.open(find_layout(str(root), ""), actor="ada")


def damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on a bit of the last record of every write to a pack is lost."""
    write = os.pwritev

    def damaging(fd: int, buffers: Sequence[bytes], offset: int) -> int:
        last = bytearray(buffers[-1])
        if len(last) > HEADER or len(buffers) > 1:
            last[-1] ^= 1
        return write(fd, [*buffers[:-1], bytes(last)], offset)

    monkeypatch.setattr(os, "pwritev", damaging)


def test_what_does_not_read_as_it_was_written_is_never_a_save_point(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(root) as repository:
        first = snapshot(repository, "main", SnapshotOptions("sound"))
    (root / "main" / "more").write_text("more")
    with monkeypatch.context() as patched, opened(root) as repository:
        damage(patched)
        with pytest.raises(IntegrityError):
            snapshot(repository, "main", SnapshotOptions("damaged"))
    with opened(root) as repository:
        assert repository.latest("main") == first.save_point
        assert repository.head("main") == first.save_point
        again = snapshot(repository, "main", SnapshotOptions("sound again"))
        assert again.save_point.parent_id == first.save_point.save_point_id
        assert repository.repo.verify().ok


def test_a_push_that_is_no_save_point_would_not_notice(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That the test above can fail."""
    with monkeypatch.context() as patched, opened(root) as repository:
        damage(patched)
        assert repository.repo.push(str(root / "main"), label="other").status == "advanced"
    with opened(root) as repository:
        assert not repository.repo.verify().ok


@pytest.mark.parametrize("level", [0, 1, 19])
def test_every_level_reads_back(root: Path, level: int) -> None:
    (root / "main" / "text").write_text("the same\n" * 50_000)
    with opened(root) as repository:
        made = snapshot(repository, "main", SnapshotOptions("x", level=level))
        assert made.save_point.integrity_state == "verified"
        assert repository.repo.verify().ok
