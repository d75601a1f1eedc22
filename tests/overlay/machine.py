"""Rules that do the same to a plain directory and to what is to be like it: the same trees, answers and errnos."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from jvs.castore.digest import Digest
from tests.overlay.support import Seen, on_disk

plain_open: Callable[..., Any] = open
NAMES = st.sampled_from(["a", "b", "c", "big", "many"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
ODD = st.sampled_from(
    ["a/", "b/", "a/.", "a/..", "./b", "a/../b", "b//c", "c/./a", "a/b/", "c/", "n" * 256, "a/" + "n" * 256]
)
ANY = st.one_of(PATHS, PATHS, PATHS, ODD)
DATA = st.one_of(
    st.binary(max_size=20),
    st.tuples(st.integers(0, 4000), st.integers(0, 9)).map(lambda x: random.Random(x[1]).randbytes(x[0])),
)
TARGETS = st.one_of(PATHS, st.sampled_from(["../a", "../b/c", ".", "..", "loop", "a/", "b/../c"]))
MODES = st.sampled_from([0o600, 0o644, 0o755, 0o700, 0o4755])
UMASK = 0o022

TORTURE = os.environ.get("JVS_TORTURE") == "1"


class Plain:
    """A directory, with the calls of an overlay."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def at(self, path: str) -> str:
        return os.path.join(self.root, path)

    def open(self, path: str, mode: str, buffering: int = -1) -> Any:
        return plain_open(self.at(path), mode, buffering)

    def truncate(self, path: str, size: int) -> None:
        os.truncate(self.at(path), size)

    def mkdir(self, path: str) -> None:
        os.mkdir(self.at(path))

    def makedirs(self, path: str, *, exist_ok: bool) -> None:
        os.makedirs(self.at(path), exist_ok=exist_ok)

    def rmdir(self, path: str) -> None:
        os.rmdir(self.at(path))

    def unlink(self, path: str) -> None:
        os.unlink(self.at(path))

    def rmtree(self, path: str) -> None:
        shutil.rmtree(self.at(path))

    def rename(self, source: str, target: str) -> None:
        os.rename(self.at(source), self.at(target))

    def symlink(self, to: str, path: str) -> None:
        os.symlink(to, self.at(path))

    def readlink(self, path: str) -> str:
        return os.readlink(self.at(path))

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(self.at(path), mode)

    def utime(self, path: str, *, ns: tuple[int, int], follow_symlinks: bool) -> None:
        os.utime(self.at(path), ns=ns, follow_symlinks=follow_symlinks)

    def stat(self, path: str, *, follow_symlinks: bool = True) -> os.stat_result:
        return os.stat(self.at(path), follow_symlinks=follow_symlinks)

    def listdir(self, path: str) -> list[str]:
        return sorted(os.listdir(self.at(path)))

    def copy(self, source: str, target: str) -> None:
        """A file takes the place of a file, which is not written: whoever has that one open keeps it."""
        if os.path.isdir(self.at(source)):
            shutil.copytree(self.at(source), self.at(target), symlinks=True)
            return
        plain_open(self.at(target), "ab").close()  # the errors, whatever there is
        where = os.path.realpath(self.at(target))
        aside = os.path.join(os.path.dirname(where), "aside")
        os.chmod(shutil.copyfile(self.at(source), aside), os.stat(self.at(source)).st_mode)
        os.replace(aside, where)


class Outside(Exception):
    """A path that leads out of the plain directory through a link."""


def step(**strategies: Any) -> Callable[[Callable[..., None]], Any]:
    """A rule that does nothing with paths that lead outside."""

    def wrap(work: Callable[..., None]) -> Any:
        @functools.wraps(work)
        def checked(self: Rules, **drawn: Any) -> None:
            with contextlib.suppress(Outside):
                work(self, **drawn)

        wrapped: Any = rule(**strategies)
        return wrapped(checked)

    return wrap


class Rules(RuleBasedStateMachine):
    """The rules. Who inherits them says what is tested.

    top    a temporary directory of this run
    plain  the directory that is changed alike
    fs     what is to be like it
    merged whether it became another snapshot's: then its inodes keep their numbers until it ends
    """

    merged = False
    top: Path
    plain: Path
    fs: Any

    def start(self) -> None:
        """Set `fs`, which begins as `plain` is now."""
        raise NotImplementedError

    def stop(self) -> None:
        """The end."""
        raise NotImplementedError

    def seen(self) -> Seen:
        """What there is."""
        raise NotImplementedError

    def again(self, killed: bool) -> None:
        """End it and go on, nothing being open. killed: without being told of it."""
        raise NotImplementedError

    def pushed(self) -> tuple[Digest, Digest, Seen, list[Any]]:
        """Push: (the snapshot, that of the plain directory, what is in it, the changes that are left)."""
        raise NotImplementedError

    @initialize(seed=st.integers(0, 5))
    def begin(self, seed: int) -> None:
        self.top = Path(tempfile.mkdtemp(prefix="jvs-test-"))
        self.plain = self.top / "plain" / "in"  # so that a link or `..` that leads out still leads to nothing of ours
        self.plain.mkdir(parents=True)
        os.umask(UMASK)
        pick = random.Random(seed)
        for directory in ("a", "b", "a/b", "many"):
            (self.plain / directory).mkdir()
        for name in ("c", "a/a", "a/b/a", "b/c"):
            (self.plain / name).write_bytes(pick.randbytes(pick.choice([0, 10, 90, 500])))
        (self.plain / "big").write_bytes(pick.randbytes(9000))
        (self.plain / "a/big").write_bytes(bytes(6000))
        (self.plain / "b/a").symlink_to("../a/b")
        for number in range(300 if seed == 5 else 3):
            (self.plain / f"many/{number:03}").write_bytes(b"%d" % number)
        self.model = Plain(self.plain)
        self.open: list[tuple[Any, Any]] = []
        self.start()
        self.started = True

    def teardown(self) -> None:
        if not hasattr(self, "plain"):
            return
        try:
            for pair in self.open:
                for file in pair:
                    file.close()
            self.stop()
        finally:
            shutil.rmtree(self.top)

    def both(self, work: Callable[[Any], Any]) -> tuple[Any, Any] | None:
        """Do it to both; the same result or the same errno. What came of it, if it succeeded."""
        answers: list[Any] = []
        for fs in (self.model, self.fs):
            try:
                answers.append(("did", work(fs)))
            except OSError as error:
                answers.append(("errno", error.errno))
        plain, ours = answers
        if plain[0] == "did" and ours[0] == "did":
            return plain[1], ours[1]
        assert plain == ours, (plain, ours)
        return None

    def same(self, work: Callable[[Any], Any]) -> None:
        """Do it to both, with the same result."""
        done = self.both(work)
        assert done is None or done[0] == done[1]

    def at(self, path: str) -> str:
        """The path in the plain directory; one that leads out of it through a link (which an overlay never does, see
        test_posix) is given up."""
        there = self.model.at(path)
        if not (os.path.realpath(there) + "/").startswith(str(self.plain) + "/"):
            raise Outside
        return there

    @step(path=ANY, data=DATA, mode=st.sampled_from(["wb", "xb", "ab", "r+b", "w+b", "a+b"]), at=st.integers(0, 9500))
    def write(self, path: str, data: bytes, mode: str, at: int) -> None:
        def work(fs: Any) -> Any:
            with fs.open(path, mode) as file:
                if mode in ("r+b", "w+b", "a+b"):
                    file.seek(at)
                file.write(data)
                return file.tell()

        self.at(path)
        self.same(work)

    @step(path=ANY, at=st.integers(0, 9500), size=st.integers(0, 3000))
    def read(self, path: str, at: int, size: int) -> None:
        def work(fs: Any) -> Any:
            with fs.open(path, "rb") as file:
                file.seek(at)
                return file.read(size), file.seek(-1, 2) if at % 2 and file.seek(0, 2) else 0

        self.at(path)
        self.same(work)

    @step(path=ANY, size=st.sampled_from([-1, 0, 1, 50, 300, 5000, 9100]))
    def truncate(self, path: str, size: int) -> None:
        self.at(path)
        self.both(lambda fs: fs.truncate(path, size))

    @step(path=ANY)
    def mkdir(self, path: str) -> None:
        self.at(path)
        self.both(lambda fs: fs.mkdir(path))

    @step(path=PATHS, exist_ok=st.booleans())
    def makedirs(self, path: str, exist_ok: bool) -> None:
        self.at(path)
        self.both(lambda fs: fs.makedirs(path, exist_ok=exist_ok))

    @step(path=ANY)
    def rmdir(self, path: str) -> None:
        self.at(path)
        self.both(lambda fs: fs.rmdir(path))

    @step(path=ANY)
    def unlink(self, path: str) -> None:
        self.at(path)
        self.both(lambda fs: fs.unlink(path))

    @step(path=PATHS)
    def rmtree(self, path: str) -> None:
        if os.path.isdir(self.at(path)) and not os.path.islink(self.at(path)):
            self.both(lambda fs: fs.rmtree(path))

    @step(source=ANY, where=ANY)
    def rename(self, source: str, where: str) -> None:
        self.at(source)
        self.at(where)
        self.both(lambda fs: fs.rename(source, where))

    @step(to=TARGETS, path=ANY)
    def symlink(self, to: str, path: str) -> None:
        self.at(path)
        self.both(lambda fs: fs.symlink(to, path))

    @step(path=ANY)
    def readlink(self, path: str) -> None:
        self.at(path)
        self.same(lambda fs: fs.readlink(path))

    @step(path=ANY, mode=MODES)
    def chmod(self, path: str, mode: int) -> None:
        if os.path.realpath(self.at(path)).startswith(str(self.plain) + "/"):  # the root's mode is not ours
            self.both(lambda fs: fs.chmod(path, mode))

    @step(path=ANY, ns=st.integers(0, 2**60), follow=st.booleans())
    def utime(self, path: str, ns: int, follow: bool) -> None:
        self.at(path)
        if self.both(lambda fs: fs.utime(path, ns=(ns, ns), follow_symlinks=follow)) is not None:
            assert self.fs.stat(path, follow_symlinks=follow).st_mtime_ns == ns

    @step(path=ANY, follow=st.booleans())
    def status(self, path: str, follow: bool) -> None:
        self.at(path)
        done = self.both(lambda fs: fs.stat(path, follow_symlinks=follow))
        if done is not None and os.path.realpath(self.at(path)) != str(self.plain):
            plain, ours = done
            assert plain.st_mode == ours.st_mode
            if not stat.S_ISDIR(plain.st_mode):
                assert plain.st_size == ours.st_size

    @step(path=ANY)
    def listdir(self, path: str) -> None:
        self.at(path)
        self.same(lambda fs: fs.listdir(path))

    @step(source=PATHS, where=PATHS)
    def copy(self, source: str, where: str) -> None:
        there, here = os.path.realpath(self.at(source)), os.path.realpath(self.at(where))
        directory = (
            os.path.isdir(there)
            and not os.path.lexists(self.at(where))
            and os.path.isdir(os.path.dirname(here))
            and not (here + "/").startswith(there + "/")
        )
        if directory or (os.path.isfile(there) and there != here):
            self.both(lambda fs: fs.copy(source, where))

    @step(path=PATHS)
    def hold(self, path: str) -> None:
        """Open a file and keep it open, whatever becomes of its name."""
        if os.path.isfile(self.at(path)) and len(self.open) < 3:
            self.open.append((self.model.open(path, "r+b", 0), self.fs.open(path, "r+b", 0)))

    @step(number=st.integers(0, 2), at=st.integers(0, 9500), data=DATA, cut=st.booleans())
    def use_held(self, number: int, at: int, data: bytes, cut: bool) -> None:
        if number < len(self.open):
            answers = []
            for file in self.open[number]:
                file.seek(at)
                if cut:
                    file.truncate()
                file.write(data)
                file.seek(0)
                answers.append(file.read())
            assert answers[0] == answers[1]

    @step(number=st.integers(0, 2))
    def let_go(self, number: int) -> None:
        if number < len(self.open):
            for file in self.open.pop(number):
                file.close()

    @step()
    def push(self) -> None:
        pushed, ingested, inside, changes = self.pushed()
        assert pushed == ingested
        assert inside == on_disk(self.plain)
        assert changes == []

    @step(killed=st.booleans())
    def resume(self, killed: bool) -> None:
        if not self.open:
            inos = self.numbers()
            self.again(killed)
            assert inos == self.numbers() or self.merged
            self.merged = False

    def numbers(self) -> dict[str, int]:
        """The number of each inode."""
        return {path: self.fs.stat(path, follow_symlinks=False).st_ino for path in self.seen()}

    @invariant()
    def same_tree(self) -> None:
        if hasattr(self, "started"):
            assert self.seen() == on_disk(self.plain)
