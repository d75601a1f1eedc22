"""`make demo`: it runs, and its proof goes red for any difference."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from devtools.demo import differences, fingerprint, prove

ROOT = Path(__file__).resolve().parents[2]


def test_the_demo_proves_the_round_trip() -> None:
    """One of the two commands of the README: run what it runs."""
    demo = [sys.executable, "devtools/demo.py"]
    done = subprocess.run(demo, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("the same byte for byte")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "folder").mkdir(parents=True)
    (root / "folder" / "file").write_bytes(b"content")
    (root / "link").symlink_to("folder")
    return root


def test_a_copy_is_the_same(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "copy", symlinks=True)
    assert differences(fingerprint(tree), fingerprint(tmp_path / "copy")) == []


def _relink(root: Path) -> None:
    (root / "link").unlink()
    (root / "link").symlink_to("elsewhere")


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda root: (root / "folder" / "file").write_bytes(b"Content"), "folder/file"),
        (lambda root: (root / "folder" / "file").chmod(0o700), "folder/file"),
        (lambda root: (root / "folder").chmod(0o700), "folder"),
        (lambda root: (root / "folder" / "file").unlink(), "folder/file"),
        (lambda root: (root / "empty").mkdir(), "empty"),
        (lambda root: os.mkfifo(root / "fifo"), "fifo"),
        (_relink, "link"),
    ],
)
def test_any_change_is_a_difference(change: Callable[[Path], None], path: str, tree: Path) -> None:
    before = fingerprint(tree)
    change(tree)
    after = fingerprint(tree)
    assert differences(before, after) == [path]
    with pytest.raises(SystemExit, match=path):
        prove("it", before, after)
