"""Purges of random patterns from random histories, compared with a model that looks at whole paths."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import pytest

from jvs.castore.digest import Digest
from jvs.castore.ingest.ignore import parse_ignore_file
from jvs.errors import PurgedContentError, UnknownError
from tests.conftest import TORTURE
from tests.workspace.test_purge import Ground, contents, ground, purge, traces

__all__ = ["ground"]

SEEDS = 200 if TORTURE else 4
NAMES = ("a", "b", "c.pem", "d")
GLOBS = ("a", "*/a", "**/a", "a/**", "**/b/", "b/**/c.pem", "[ab]", "**/*.pem", "a/?", "**/d/**", "*")


def named(globs: list[str], path: bytes, *, is_directory: bool) -> bool:
    """Whether some pattern names the path or a directory above it; the model."""
    names = path.split(b"/")
    for glob in globs:
        (pattern,) = parse_ignore_file(b"/" + glob.encode())
        for end in range(1, len(names) + 1):
            below = end < len(names)
            if (below or is_directory or not pattern.directory_only) and pattern.matches(
                names[: end - 1], names[end - 1]
            ):
                return True
    return False


def without(globs: list[str], files: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """What is left of a tree (names that end in a slash are directories)."""
    return {
        path: data
        for path, data in files.items()
        if not named(globs, path.rstrip(b"/"), is_directory=path.endswith(b"/"))
    }


class Story:
    """A random history, and what its snapshots hold."""

    def __init__(self, ground: Ground, seed: int) -> None:
        self.ground = ground
        self.random = random.Random(seed)
        self.pool = [self.random.randbytes(self.random.choice((40, 60, 300, 6000))) for _ in range(12)]
        self.snapshots: dict[Digest, dict[bytes, bytes]] = {}
        ground.source.mkdir()

    def edit(self) -> None:
        for _ in range(self.random.randrange(1, 8)):
            path: Path = self.ground.source
            for _ in range(self.random.randrange(3)):
                inner = path / self.random.choice(NAMES)
                if inner.is_file():
                    break
                inner.mkdir(exist_ok=True)
                path = inner
            file = path / self.random.choice(NAMES)
            if file.is_dir():
                continue
            if file.exists() and self.random.random() < 0.3:
                file.unlink()
            else:
                file.write_bytes(self.random.choice(self.pool))

    def act(self) -> None:
        repo, choice = self.ground.repo, self.random.random()
        if choice < 0.75 or not self.snapshots:
            self.edit()
            label = self.random.choice(("main", "work", None))
            with suppress(PurgedContentError):
                done = repo.push(str(self.ground.source), label=label, force=label is not None, detach=label is None)
                self.snapshots[done.ca_id] = contents(repo, done.ca_id)
        elif choice < 0.85:
            repo.pin(self.random.choice(list(self.snapshots)).hex())
        elif choice < 0.9 and repo.labels.get("work") is not None:
            repo.delete_label("work")
        elif repo.labels.get("main") is not None:
            repo.undo("main")
            if repo.labels.get("main") is None:
                repo.undelete_label("main")

    def purge(self) -> None:
        globs = self.random.sample(GLOBS, self.random.randrange(1, 3))
        repo = self.ground.repo
        standing = {old: repo.resolve(old.hex()).ca_id for old in self.snapshots}
        before = {now: contents(repo, now) for now in standing.values()}
        after = {now: without(globs, files) for now, files in before.items()}
        with suppress(UnknownError):
            result = purge(self.ground, *globs)
            assert result.done
            assert result.snapshots == sum(before[now] != after[now] for now in before)
        for old, now in standing.items():
            self.snapshots[old] = after[now]
            assert contents(repo, repo.resolve(old.hex()).ca_id) == after[now]
        kept = {data for files in after.values() for data in files.values()}
        for data in {data for files in before.values() for data in files.values()} - kept - {b""}:
            assert traces(self.ground.store, data) == []


@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_any_history(ground: Ground, seed: int) -> None:
    story = Story(ground, seed)
    for _ in range(2):
        for _ in range(6):
            story.act()
        story.purge()
        ground.check()
    for old, files in list(story.snapshots.items())[:3]:
        assert ground.repo.resolve(old.hex()).ca_id == ground.fresh(files)
