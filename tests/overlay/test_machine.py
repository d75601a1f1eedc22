"""Random operations on an overlay and on a plain directory: the same trees, the same answers, the same errnos."""

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

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from jvs.overlay.overlay import Overlay
from tests.overlay.support import in_overlay, in_store, new_objects, on_disk, pushed, stored

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

STEPS = int(os.environ.get("JVS_TORTURE", "0")) * 200 or 30


class Outside(Exception):
    """A path that leads out of the plain directory through a link."""


def step(**strategies: Any) -> Callable[[Callable[..., None]], Any]:
    """A rule that does nothing with paths that lead outside."""

    def wrap(work: Callable[..., None]) -> Any:
        @functools.wraps(work)
        def checked(self: Machine, **drawn: Any) -> None:
            with contextlib.suppress(Outside):
                work(self, **drawn)

        wrapped: Any = rule(**strategies)
        return wrapped(checked)

    return wrap


class Machine(RuleBasedStateMachine):
    """One overlay, and the directory that it is to be like."""

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
        self.objects = new_objects()
        self.directory = str(self.top / "upper")
        self.fs = Overlay.create(self.objects, stored(self.objects, self.plain), self.directory, umask=UMASK)
        self.open: list[tuple[Any, Any]] = []

    def teardown(self) -> None:
        if hasattr(self, "fs"):
            for one, other in self.open:
                one.close()
                other.close()
            self.fs.close()
            shutil.rmtree(self.top)

    def both(self, there: Callable[[], Any], here: Callable[[], Any]) -> tuple[Any, Any] | None:
        """Do both; the same result or the same errno. What succeeded, if it did."""
        answers: list[Any] = []
        for call in (there, here):
            try:
                answers.append(("did", call()))
            except OSError as error:
                answers.append(("errno", error.errno))
        plain, ours = answers
        if plain[0] == "did" and ours[0] == "did":
            return plain[1], ours[1]
        assert plain == ours, (plain, ours)
        return None

    def at(self, path: str) -> str:
        """The path in the plain directory; one that leads out of it through a link (which an overlay never does, see
        test_posix) is given up."""
        there = os.path.join(self.plain, path)
        if not (os.path.realpath(there) + "/").startswith(str(self.plain) + "/"):
            raise Outside
        return there

    @step(path=ANY, data=DATA, mode=st.sampled_from(["wb", "xb", "ab", "r+b", "w+b", "a+b"]), at=st.integers(0, 9500))
    def write(self, path: str, data: bytes, mode: str, at: int) -> None:
        def work(opened: Any) -> Any:
            with opened as file:
                if mode in ("r+b", "w+b", "a+b"):
                    file.seek(at)
                file.write(data)
                return file.tell()

        done = self.both(lambda: work(plain_open(self.at(path), mode)), lambda: work(self.fs.open(path, mode)))
        if done is not None:
            assert done[0] == done[1]

    @step(path=ANY, at=st.integers(0, 9500), size=st.integers(0, 3000))
    def read(self, path: str, at: int, size: int) -> None:
        def work(opened: Any) -> Any:
            with opened as file:
                file.seek(at)
                return file.read(size), file.seek(-1, 2) if at % 2 and file.seek(0, 2) else 0

        done = self.both(lambda: work(plain_open(self.at(path), "rb")), lambda: work(self.fs.open(path, "rb")))
        if done is not None:
            assert done[0] == done[1]

    @step(path=ANY, size=st.sampled_from([-1, 0, 1, 50, 300, 5000, 9100]))
    def truncate(self, path: str, size: int) -> None:
        self.both(lambda: os.truncate(self.at(path), size), lambda: self.fs.truncate(path, size))

    @step(path=ANY)
    def mkdir(self, path: str) -> None:
        self.both(lambda: os.mkdir(self.at(path)), lambda: self.fs.mkdir(path))

    @step(path=PATHS, exist_ok=st.booleans())
    def makedirs(self, path: str, exist_ok: bool) -> None:
        self.both(
            lambda: os.makedirs(self.at(path), exist_ok=exist_ok), lambda: self.fs.makedirs(path, exist_ok=exist_ok)
        )

    @step(path=ANY)
    def rmdir(self, path: str) -> None:
        self.both(lambda: os.rmdir(self.at(path)), lambda: self.fs.rmdir(path))

    @step(path=ANY)
    def unlink(self, path: str) -> None:
        self.both(lambda: os.unlink(self.at(path)), lambda: self.fs.unlink(path))

    @step(path=PATHS)
    def rmtree(self, path: str) -> None:
        if os.path.isdir(self.at(path)) and not os.path.islink(self.at(path)):
            shutil.rmtree(self.at(path))
            self.fs.rmtree(path)

    @step(source=ANY, where=ANY)
    def rename(self, source: str, where: str) -> None:
        self.both(lambda: os.rename(self.at(source), self.at(where)), lambda: self.fs.rename(source, where))

    @step(to=TARGETS, path=ANY)
    def symlink(self, to: str, path: str) -> None:
        self.both(lambda: os.symlink(to, self.at(path)), lambda: self.fs.symlink(to, path))

    @step(path=ANY)
    def readlink(self, path: str) -> None:
        done = self.both(lambda: os.readlink(self.at(path)), lambda: self.fs.readlink(path))
        assert done is None or done[0] == done[1]

    @step(path=ANY, mode=MODES)
    def chmod(self, path: str, mode: int) -> None:
        if os.path.realpath(self.at(path)).startswith(str(self.plain) + "/"):  # the root's mode is not ours
            self.both(lambda: os.chmod(self.at(path), mode), lambda: self.fs.chmod(path, mode))

    @step(path=ANY, ns=st.integers(0, 2**60), follow=st.booleans())
    def utime(self, path: str, ns: int, follow: bool) -> None:
        done = self.both(
            lambda: os.utime(self.at(path), ns=(ns, ns), follow_symlinks=follow),
            lambda: self.fs.utime(path, ns=(ns, ns), follow_symlinks=follow),
        )
        if done is not None:
            assert self.fs.stat(path, follow_symlinks=follow).st_mtime_ns == ns

    @step(path=ANY, follow=st.booleans())
    def status(self, path: str, follow: bool) -> None:
        done = self.both(
            lambda: os.stat(self.at(path), follow_symlinks=follow), lambda: self.fs.stat(path, follow_symlinks=follow)
        )
        if done is not None and os.path.realpath(self.at(path)) != str(self.plain):
            plain, ours = done
            assert plain.st_mode == ours.st_mode
            if not stat.S_ISDIR(plain.st_mode):
                assert plain.st_size == ours.st_size

    @step(path=ANY)
    def listdir(self, path: str) -> None:
        done = self.both(lambda: sorted(os.listdir(self.at(path))), lambda: self.fs.listdir(path))
        assert done is None or done[0] == done[1]

    @step(source=PATHS, where=PATHS)
    def copy(self, source: str, where: str) -> None:
        there, here = os.path.realpath(self.at(source)), os.path.realpath(self.at(where))
        if os.path.isfile(there) and there != here:
            self.both(
                lambda: os.chmod(shutil.copyfile(self.at(source), self.at(where)), os.stat(there).st_mode),
                lambda: self.fs.copy(source, where),
            )
        elif (
            os.path.isdir(there)
            and not os.path.lexists(self.at(where))
            and os.path.isdir(os.path.dirname(here))
            and not (here + "/").startswith(there + "/")
        ):
            shutil.copytree(there, here, symlinks=True)
            self.fs.copy(source, where)

    @step(path=PATHS)
    def hold(self, path: str) -> None:
        """Open a file and keep it open, whatever becomes of its name."""
        if os.path.isfile(self.at(path)) and len(self.open) < 3:
            self.open.append((plain_open(self.at(path), "r+b", 0), self.fs.open(path, "r+b", 0)))

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
        root = pushed(self.objects, self.fs)
        assert root == stored(self.objects, self.plain)
        assert in_store(self.objects, root) == on_disk(self.plain)
        assert list(self.fs.changes()) == []

    @step()
    def resume(self) -> None:
        """As after the death of the process: nothing is told, nothing is closed."""
        if not self.open:
            inos = {path: self.fs.lstat(path).st_ino for path in in_overlay(self.fs)}
            self.fs._upper.close()
            self.fs = Overlay.resume(self.objects, self.directory, umask=UMASK)
            assert self.fs.torn == 0
            assert inos == {path: self.fs.lstat(path).st_ino for path in in_overlay(self.fs)}

    @invariant()
    def same_tree(self) -> None:
        if hasattr(self, "fs"):
            assert in_overlay(self.fs) == on_disk(self.plain)


Machine.TestCase.settings = settings(max_examples=10, stateful_step_count=STEPS, deadline=None)
TestMachine = Machine.TestCase
