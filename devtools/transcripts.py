"""Run the code blocks of a Markdown page, and compare or replace the output printed there.

    python devtools/transcripts.py README.md docs/quickstart.md            # compare: exit 1 where they differ
    python devtools/transcripts.py --write README.md docs/quickstart.md    # put the real output in its place

A page is one session in one new directory, top to bottom, with the `jvs` of the running interpreter first on
PATH.  Three kinds of block are run:

```console   lines `$ command` (going on in lines `> more`), each followed by what it prints, both streams; a
             line `...` stands for any lines.  A command must succeed; one meant to fail says so in plain
             sight: `$ jvs fs cat nowhere:x; echo "exit $?"`.  `cd` lasts, other state of the shell does not.
```python    a script, which must succeed; what it prints is not compared.
<!-- setup   (an HTML comment, not shown to readers) a shell script that makes the files the session needs.

Ids, times, durations and sizes differ from run to run: `normalised` says what counts as the same.  In what a
command prints, the session's own directory reads `/data`.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_SECONDS = 120
_BLOCK = re.compile(r"^```(?P<kind>console|python)\n(?P<body>.*?)^```$|^<!-- setup\n(?P<setup>.*?)^-->$", re.M | re.S)
_VARYING = (
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?"), "<time>"),
    (re.compile(r"\b(just now|(\d+|an?) (second|minute)s? ago)\b"), "<time>"),
    (re.compile(r"\b[0-9a-f]{8,64}\b"), "<id>"),
    (re.compile(r"\b0[0-9a-hjkmnp-tv-z]{11}([0-9a-hjkmnp-tv-z]{14})?\b"), "<id>"),
    (re.compile(r"\b\d[\d,.]* ?(B|bytes|[kKMGT]i?B)\b"), "<size>"),
    (re.compile(r"\b\d[\d,.]* ?(ms|s)\b"), "<duration>"),
    (re.compile(r"\s+"), " "),
)


@dataclass(frozen=True)
class Step:
    """One thing to run, and the output that the page shows for it (None: the page shows none)."""

    kind: str  # "shell" or "python"
    source: str
    shown: str | None
    span: tuple[int, int]  # where in the page `shown` stands


@dataclass(frozen=True)
class Outcome:
    """What running a step gave; `output` is both streams, as a terminal would show them."""

    step: Step
    status: int
    output: str

    def fault(self) -> str | None:
        """What is wrong with the page here, or None."""
        if self.status != 0:
            return f"$ {self.step.source}\nexit status {self.status}\n{self.output}"
        if self.step.shown is not None and not matches(self.step.shown, self.output):
            return f"$ {self.step.source}\n--- the page\n{self.step.shown}--- the command\n{self.output}"
        return None


def normalised(line: str) -> str:
    """`line` with everything that differs from run to run replaced by a word for it."""
    for pattern, word in _VARYING:
        line = pattern.sub(word, line)
    return line.strip()


def matches(shown: str, output: str) -> bool:
    """Whether `output` is what the page shows, line by line, `...` standing for any lines, also none."""
    lines = [normalised(line) for line in shown.rstrip().splitlines()]
    pattern = "".join("(.*\n)*?" if line == "..." else re.escape(line) + "\n" for line in lines)
    actual = "".join(normalised(line) + "\n" for line in output.rstrip().splitlines())
    return re.fullmatch(pattern, actual) is not None


def steps(page: str) -> Iterator[Step]:
    """Everything to be run in a page's text, in order."""
    for block in _BLOCK.finditer(page):
        if block["setup"] is not None:
            yield Step("shell", block["setup"], None, block.span("setup"))
        elif block["kind"] == "python":
            yield Step("python", block["body"], None, block.span("body"))
        else:
            yield from _console_steps(block["body"], block.start("body"))


def _console_steps(body: str, offset: int) -> Iterator[Step]:
    """The commands of one console block, whose text stands at `offset` in its page."""
    prompts = list(re.finditer(r"^\$ (.*\n(?:> .*\n)*)", body, re.M))
    if not prompts or body[: prompts[0].start()].strip():
        raise ValueError(f"a console block begins with a line `$ command`:\n{body}")
    ends = [prompt.start() for prompt in prompts[1:]] + [len(body)]
    for prompt, end in zip(prompts, ends, strict=True):
        command = re.sub(r"^> ", "", prompt[1], flags=re.M).rstrip("\n")
        yield Step("shell", command, body[prompt.end() : end], (offset + prompt.end(), offset + end))


def _environment(home: Path) -> dict[str, str]:
    """A quiet, fixed environment: no colours, UTC, an empty home, nothing of the caller's jvs settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JVS_", "PYTEST_"))}
    commands = Path(sys.executable).parent
    return kept | {
        "PATH": f"{commands}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "HOME": str(home),
        "JVS_ACTOR": "ada@laptop",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "NO_COLOR": "1",
        "COLUMNS": "110",
    }


def run(page: str) -> Iterator[Outcome]:
    """Run the steps of a page's text, one after another, in one new directory; give their outcomes."""
    with tempfile.TemporaryDirectory(prefix="jvs-page-") as scratch:
        home = Path(scratch, "home")
        work = Path(scratch, "work").resolve()
        state = Path(scratch, "cwd")
        home.mkdir()
        work.mkdir()
        state.write_text(str(work))
        environment = _environment(home)
        for step in steps(page):
            if step.kind == "python":
                command = [sys.executable, "-c", step.source]
            else:
                remember = f'\nstatus=$?; printf %s "$PWD" > "{state}"; exit $status'
                command = ["bash", "-c", step.source + remember]
            done = subprocess.run(
                command,
                cwd=state.read_text(),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
            output = done.stdout.decode("utf-8", "replace").replace(str(work), "/data")
            yield Outcome(step, done.returncode, output)


def faults(page: str) -> list[str]:
    """What is wrong with a page's text, in words; empty when all its blocks run and print what it shows."""
    return [fault for outcome in run(page) if (fault := outcome.fault()) is not None]


def rewritten(page: str) -> str:
    """The page with what its commands really print, wherever that is not what it shows.

    Output that matches, also by `...`, is left as it is.  Raises ValueError when a command fails.
    """
    parts = []
    at = 0
    for outcome in run(page):
        if outcome.status != 0:
            raise ValueError(outcome.fault())
        if outcome.step.shown is None or outcome.fault() is None:
            continue
        start, end = outcome.step.span
        blank = "\n" if outcome.step.shown.endswith("\n\n") else ""
        parts += [page[at:start], outcome.output.rstrip() + "\n" + blank if outcome.output.strip() else blank]
        at = end
    return "".join(parts) + page[at:]


def main() -> int:
    """See the head of this file."""
    parser = argparse.ArgumentParser(description="Run the code blocks of Markdown pages.")
    parser.add_argument("--write", action="store_true", help="replace the output shown by the real one")
    parser.add_argument("pages", nargs="+", type=Path)
    arguments = parser.parse_args()
    status = 0
    for path in arguments.pages:
        page = path.read_text()
        if arguments.write:
            path.write_text(rewritten(page))
            continue
        for fault in faults(page):
            print(f"{path}: {fault}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
