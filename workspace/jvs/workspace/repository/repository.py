"""Repository: a store and its worktrees, opened for work. The command line and the Client stand on it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from jvs.errors import UsageError
from jvs.workspace.repo import Repo
from jvs.workspace.repository import position
from jvs.workspace.repository.intents import any_there
from jvs.workspace.repository.layout import MAIN, Layout, Place, label_for
from jvs.workspace.repository.savepoints import SavePoint, SavePoints
from jvs.workspace.repository.settings import Settings, load_settings
from jvs.workspace.repository.worktrees import Registry, Worktree

if TYPE_CHECKING:
    from collections.abc import Iterator


class Repository:
    """An open repository. Use as a context manager; safe for several threads, refuses use after fork.

    layout, repo, registry  where things lie; its store; its worktrees
    settings                what `jvs config set` was told
    """

    def __init__(self, layout: Layout, repo: Repo) -> None:
        self.layout = layout
        self.repo = repo
        self.registry = Registry(layout)
        self.settings: Settings = load_settings(layout)
        self.recovered: list[str] = []
        """What was finished when it was opened, as sentences for people."""

    @classmethod
    def open(cls, layout: Layout, *, actor: str, nonce: str | None = None, noted: str | None = None) -> Repository:
        """Open the repository that `find_layout` found, and see to what a killed process has left half-done there.
        nonce, noted: of the lock that its user holds; see `Repo`."""
        repository = cls(layout, Repo.open(layout.store(), actor=actor, nonce=nonce, noted=noted))
        if any_there(layout):
            from jvs.workspace.repository.recovery import recover  # hardly ever needed

            repository.recovered = recover(repository)
        return repository

    def close(self) -> None:
        """Release the store; idempotent."""
        self.repo.close()

    def __enter__(self) -> Repository:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def root(self) -> str:
        """Absolute path."""
        return self.layout.root

    @property
    def repo_id(self) -> str:
        """The repository's name among all repositories; copies have the same."""
        return self.layout.repo_id

    @property
    def engine(self) -> str:
        """How worktrees are cloned: what was configured, else what was found when the repository was made."""
        return self.settings.engine or self.registry.get(MAIN).engine

    # -- worktrees ---------------------------------------------------------------------------------------------------

    def worktree(self, name: str) -> Worktree:
        """See `Registry.get`."""
        return self.registry.get(name)

    def worktree_at(self, path: str) -> str | None:
        """The name of the worktree that `path` is in; None: at the root, or among the control data."""
        return self.layout.around(path)

    def choose(self, name: str | None, here: str) -> str:
        """The worktree meant: `-w NAME`, else the one that `here` is in. Raises UsageError, UnknownError."""
        chosen = self.worktree_at(here) if name is None else name
        if chosen is None:
            raise UsageError(
                f"which worktree? {here} is in none of the repository {self.root}",
                next=f"cd {self.layout.path(MAIN)} (or into another one), or name it: -w {MAIN}",
            )
        return self.registry.get(chosen).name

    def path(self, name: str) -> str:
        """The directory of a worktree."""
        return self.layout.path(self.registry.get(name).name)

    def place(self, name: str) -> Place:
        """The worktree, for `position`."""
        return Place(self.layout, name)

    def standing(self, name: str) -> position.Standing:
        """Where a worktree stands now."""
        return position.standing(self.repo, self.place(name))

    # -- save points -------------------------------------------------------------------------------------------------

    @property
    def savepoints(self) -> SavePoints:
        """The save points of the store."""
        other = {label: name for name in self.registry.names() if (label := label_for(name)) != name}
        return SavePoints(self.repo, self.engine, other)

    def head(self, name: str) -> SavePoint | None:
        """The save point a worktree stands at; None when there is none yet."""
        binding = self.standing(name).binding
        return None if binding is None or binding.entry_id is None else self.savepoints.at(binding.entry_id)

    def latest(self, name: str) -> SavePoint | None:
        """The newest save point of a worktree's label; None when there is none yet."""
        return self.savepoints.latest(self.standing(name).label)

    def find(self, target: str, name: str) -> SavePoint:
        """The save point that `target` names, typed by somebody in that worktree; see `SavePoints.find`."""
        standing = self.standing(name)
        head = None if standing.binding is None else standing.binding.entry_id
        return self.savepoints.find(target, standing.label, head)

    def all_save_points(self) -> Iterator[SavePoint]:
        """Those of every worktree, each once."""
        seen: set[str] = set()
        for worktree in self.registry.names():
            for one in self.savepoints.history(self.standing(worktree).label):
                if one.save_point_id not in seen:
                    seen.add(one.save_point_id)
                    yield one

    def directory(self, name: str) -> str:
        """The directory of a worktree that must be there. Raises UsageError (not-a-directory)."""
        path = self.path(name)
        if not os.path.isdir(path):
            raise UsageError(
                f"the directory of the worktree {name} is gone: {path}",
                code="not-a-directory",
                next=f"mkdir {path}, then: jvs restore HEAD -w {name}",
            )
        return path
