"""The tools that are compared, each behind the same few verbs; how each one is set up is written here and nowhere else.

Everybody runs with default settings, but for:
* git: `gc.auto=0`, so that a background repack does not run in the middle of somebody's measurement, and no
  personal or system configuration. Its `core.fsync` default leaves loose objects unsynced.
* restic: password from the environment, its cache on the same file system as everything else.
* borg: `--encryption=none`, its cache on the same file system.
* tar and cp are no version stores: they are the floor that the disk and zstd set.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from measure import Cost, Stored, folder_bytes, run_command
from volume import Ground

PEERS = ("git", "restic", "borg")


class Tool(ABC):
    """One tool with one store on one ground."""

    name: str
    # git does not; its pulled tree is compared without them.
    keeps_empty_directories = True

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.store = ground.stores / self.name
        self._pushes = 0

    @classmethod
    @abstractmethod
    def version(cls) -> str | None:
        """The version in words, or None when the tool is not installed."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Set for every command of this tool."""
        return {}

    @property
    def directory(self) -> Path:
        """Where its commands run."""
        return self.ground.source

    @abstractmethod
    def create(self) -> None:
        """Make the store; not measured."""

    @abstractmethod
    def push_commands(self) -> Sequence[Sequence[str]]:
        """The commands that store the source tree as it is now."""

    def unchanged_commands(self) -> Sequence[Sequence[str]]:
        """The commands that find that nothing changed."""
        return self.push_commands()

    @abstractmethod
    def pull_commands(self, target: Path) -> Sequence[Sequence[str]]:
        """The commands that write the newest tree into the empty directory `target`."""

    def stored(self) -> Stored:
        """What the store holds now."""
        return Stored(folder_bytes(self.store))

    def run(self, commands: Sequence[Sequence[str]], *, cwd: Path | None = None) -> Cost:
        """Run commands one after the other and add up what they cost."""
        cost = Cost(0.0, 0.0, 0)
        for command in commands:
            cost += run_command(command, cwd=cwd or self.directory, env=self.environment)
        return cost

    def push(self) -> Cost:
        """Store the source tree."""
        self._pushes += 1
        return self.run(self.push_commands())

    def push_unchanged(self) -> Cost:
        """Store the source tree, which is what was stored last."""
        self._pushes += 1
        return self.run(self.unchanged_commands())

    def pull(self, target: Path) -> Cost:
        """Write the newest tree into the empty directory `target`."""
        return self.run(self.pull_commands(target), cwd=target)


class Jvs(Tool):
    """jvs itself, through its command line."""

    name = "jvs"

    @classmethod
    def command(cls) -> str:
        """The `jvs` to measure: `JVS_BENCH_COMMAND`, else the one beside this Python, else the one on the PATH."""
        beside = Path(sys.executable).parent / "jvs"
        return os.environ.get("JVS_BENCH_COMMAND") or (str(beside) if beside.exists() else "jvs")

    @classmethod
    def version(cls) -> str | None:
        return _first_line([cls.command(), "--version"])

    @classmethod
    def compile(cls) -> None:
        """Let jvs have its byte code, as an installed program has: an editable installation (or an environment with
        PYTHONDONTWRITEBYTECODE) would compile every module at every start, which is half of a short run."""
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        code = "import compileall, jvs; [compileall.compile_dir(folder, quiet=1) for folder in jvs.__path__]"
        python = Path(shutil.which(cls.command()) or "").parent / "python"
        subprocess.run([str(python) if python.exists() else sys.executable, "-c", code], check=False)

    @property
    def _store_option(self) -> tuple[str, str]:
        return "--store", str(self.store)

    def create(self) -> None:
        self.run([[self.command(), "fs", "init", str(self.store)]])

    def push_commands(self) -> Sequence[Sequence[str]]:
        return [
            [self.command(), "fs", "push", str(self.ground.source), "--label", "main", *self._store_option, "--json"]
        ]

    def pull_commands(self, target: Path) -> Sequence[Sequence[str]]:
        return [[self.command(), "fs", "pull", "main", str(target), *self._store_option, "--json"]]

    def stored(self) -> Stored:
        """LMDB's own files apart, and without the derived `cache/`."""
        index = folder_bytes(self.store / "index")
        return Stored(folder_bytes(self.store) - index - folder_bytes(self.store / "cache"), index)


class Git(Tool):
    """git with the store beside the source tree, as a bare repository with a work tree elsewhere."""

    name = "git"
    keeps_empty_directories = False

    @classmethod
    def version(cls) -> str | None:
        return _first_line(["git", "--version"])

    @property
    def environment(self) -> Mapping[str, str]:
        return {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}

    def _git(self, *words: str) -> list[str]:
        return ["git", f"--git-dir={self.store}", f"--work-tree={self.ground.source}", *words]

    def create(self) -> None:
        self.run([["git", "init", "--quiet", "--bare", str(self.store)]])
        for setting in ("core.bare false", "gc.auto 0", "user.name b", "user.email b@example.org"):
            self.run([self._git("config", *setting.split())])

    def push_commands(self) -> Sequence[Sequence[str]]:
        return [self._git("add", "--all"), self._git("commit", "--quiet", "--message", f"push {self._pushes}")]

    def unchanged_commands(self) -> Sequence[Sequence[str]]:
        return [self._git("add", "--all")]

    def pull_commands(self, target: Path) -> Sequence[Sequence[str]]:
        # The cheapest way git has: no copy of the object store, one index, one checkout.
        return [["git", f"--git-dir={self.store}", "worktree", "add", "--quiet", "--detach", str(target), "HEAD"]]

    def pull(self, target: Path) -> Cost:
        cost = super().pull(target)
        (target / ".git").unlink()  # worktree's pointer file is no part of the tree
        return cost


class Restic(Tool):
    """restic with a local repository."""

    name = "restic"

    @classmethod
    def version(cls) -> str | None:
        return _first_line(["restic", "version"])

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "RESTIC_PASSWORD": "benchmark",
            "RESTIC_REPOSITORY": str(self.store),
            "RESTIC_CACHE_DIR": str(self.ground.scratch / "restic-cache"),
        }

    def create(self) -> None:
        self.run([["restic", "init"]])

    def push_commands(self) -> Sequence[Sequence[str]]:
        return [["restic", "backup", "--quiet", "."]]

    def pull_commands(self, target: Path) -> Sequence[Sequence[str]]:
        return [["restic", "restore", "--quiet", "latest", "--target", str(target)]]


class Borg(Tool):
    """borg with a local repository, not encrypted."""

    name = "borg"

    @classmethod
    def version(cls) -> str | None:
        return _first_line(["borg", "--version"])

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "BORG_BASE_DIR": str(self.ground.scratch / "borg-base"),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
        }

    def create(self) -> None:
        self.run([["borg", "init", "--encryption=none", str(self.store)]])

    def push_commands(self) -> Sequence[Sequence[str]]:
        return [["borg", "create", f"{self.store}::push-{self._pushes}", "."]]

    def pull_commands(self, target: Path) -> Sequence[Sequence[str]]:
        return [["borg", "extract", f"{self.store}::push-{self._pushes}"]]


class Tar(Tool):
    """`tar | zstd -1 -T2` and back: one sequential read, one sequential write, nothing versioned, nothing synced."""

    name = "tar"

    @classmethod
    def version(cls) -> str | None:
        tar, zstd = _first_line(["tar", "--version"]), _first_line(["zstd", "--version"])
        return f"{tar}; {zstd.strip('* ')}" if tar and zstd else None

    @property
    def _archive(self) -> Path:
        return self.store / "tree.tar.zst"

    def create(self) -> None:
        self.store.mkdir()

    def push_commands(self) -> Sequence[Sequence[str]]:
        return [_shell(f"tar -cf - . | zstd -1 -T2 -q -f -o {shlex.quote(str(self._archive))}")]

    def pull_commands(self, target: Path) -> Sequence[Sequence[str]]:
        return [_shell(f"zstd -d -q -c {shlex.quote(str(self._archive))} | tar -xf -")]


class Copy(Tool):
    """`cp -a`: what a full pull is compared with. It stores nothing, so it only pulls."""

    name = "cp"

    @classmethod
    def version(cls) -> str | None:
        return _first_line(["cp", "--version"])

    def create(self) -> None:
        return None

    def push_commands(self) -> Sequence[Sequence[str]]:
        return []

    def pull_commands(self, target: Path) -> Sequence[Sequence[str]]:
        return [["cp", "-a", f"{self.ground.source}/.", str(target)]]


TOOLS: Mapping[str, type[Tool]] = {tool.name: tool for tool in (Jvs, Git, Restic, Borg, Tar, Copy)}


def _shell(pipeline: str) -> list[str]:
    """A pipeline that fails when any part of it fails."""
    return ["bash", "-o", "pipefail", "-c", pipeline]


def _first_line(command: Sequence[str]) -> str | None:
    """The first line a version command prints, or None when the tool is not there."""
    if shutil.which(command[0]) is None:
        return None
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return output.splitlines()[0] if output else "unknown version"
