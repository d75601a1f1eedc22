"""Command lines that end, as `kill -9` ends them, at a chosen call that changes files; see `Dying`.

Run as a program it waits for requests, a line of JSON each, and forks itself for each of them: importing jvs for every
one of a hundred deaths would take most of a test's time.
"""

from __future__ import annotations

import builtins
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

CALLS = (
    "mkdir rename replace unlink rmdir link symlink fsync fdatasync pwrite pwritev write ftruncate chmod fchmod"
).split()
KILLED = 137


class Ended(NamedTuple):
    """What a command came to: KILLED, or its exit status; what it said; its calls, unless it was killed."""

    status: int
    out: str
    err: str
    calls: int

    @property
    def value(self) -> Any:
        """The JSON value on stdout."""
        return json.loads(self.out)


class Dying:
    """Runs command lines. A context manager."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.workspace.repository.dying"],
            cwd=Path(__file__).parents[3],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, where: Path, *words: str | Path, at: int = 0) -> Ended:
        """Run `jvs` in a directory; it ends right before call number `at` (0: it does not)."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(where), at, [str(word) for word in words]]) + "\n")
        self._process.stdin.flush()
        return Ended(*json.loads(self._process.stdout.readline()))

    def __enter__(self) -> Dying:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate()


def serve() -> None:
    """Answer requests until there are no more."""
    import jvs.cli.workspace.snapshot  # what children would import again and again
    import jvs.workspace.repository.differences
    import jvs.workspace.repository.initialising
    import jvs.workspace.repository.repository
    import jvs.workspace.repository.snapshot  # noqa: F401

    answers = sys.stdout
    for line in sys.stdin:
        where, at, words = json.loads(line)
        read, write = os.pipe()
        child = os.fork()
        if not child:
            os.close(read)
            _run(where, at, words, write)
        os.close(write)
        with open(read, encoding="utf-8") as pipe:
            said = pipe.read()
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        answers.write((json.dumps([code, "", "", 0]) if code == KILLED else said) + "\n")
        answers.flush()


def _run(where: str, at: int, words: list[str], write: int) -> None:
    from jvs.cli.main import cli, run

    os.chdir(where)
    calls = 0
    plain_write = os.write

    def step() -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            os._exit(KILLED)

    def counted(function: Callable[..., Any], counts: Callable[..., bool]) -> Callable[..., Any]:
        def called(*args: Any, **options: Any) -> Any:
            if counts(*args, **options):
                step()
            return function(*args, **options)

        return called

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name), lambda *args, **options: True))
    os.open = counted(os.open, lambda path, flags, *args, **options: bool(flags & os.O_CREAT))
    builtins.open = counted(builtins.open, lambda file, mode="r", *args, **options: "w" in mode or "x" in mode)
    out, sys.stderr = io.BytesIO(), io.StringIO()
    sys.stdout = io.TextIOWrapper(out, encoding="utf-8", write_through=True)
    status = run(cli, words)
    plain_write(write, json.dumps([status, out.getvalue().decode(), sys.stderr.getvalue(), calls]).encode())
    os._exit(0)


if __name__ == "__main__":
    serve()
