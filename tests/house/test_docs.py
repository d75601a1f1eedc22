"""README and docs/: every code block runs and prints what it shows, every relative link leads somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest

from devtools.transcripts import faults
from jvs.cli.main import cli
from jvs.cli.ui import Ui

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    {
        str(page.relative_to(ROOT))
        for pattern in ("*.md", "docs/**/*.md", "*/README.md")
        for page in ROOT.glob(pattern)
        if not page.relative_to(ROOT).parts[0].startswith(".")
    }
)
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
# The kinds of block a page may have: those that devtools/transcripts.py runs, those looked at below, and data.
KINDS = {"console", "python", "sh", "json", "text", "gitignore"}


@pytest.mark.parametrize("page", PAGES)
def test_code_blocks_run_and_print_what_they_show(page: str) -> None:
    found = faults((ROOT / page).read_text())
    assert not found, "\n\n".join(found)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_says_what_it_is(page: str) -> None:
    """A block of no known kind would be run by nobody."""
    assert {block[1] for block in FENCED.finditer((ROOT / page).read_text())} <= KINDS


def parse(words: list[str]) -> None:
    """Parse a jvs command line as jvs does, without running it; a click.UsageError when it is malformed."""
    command: click.Command = cli
    context = cli.make_context("jvs", words, obj=Ui(words))
    while isinstance(command, click.Group):
        name, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None
        command, context = found, found.make_context(name, rest, parent=context)


@pytest.mark.parametrize("line", ["nonsense", "fs nonsense", "fs ls --nonsense", "fs log a b c"])
def test_a_malformed_example_would_be_found(line: str) -> None:
    with pytest.raises(click.UsageError):
        parse(line.split())


def calls(line: str) -> list[list[str]]:
    """The commands of a line of shell, as words: those of a pipe or a list apart, without comments."""
    parts = re.split(r"[|;&>)]|\$\(", line)
    return [words for part in parts if (words := shlex.split(part.replace('"', " ") if part.count('"') % 2 else part))]


@pytest.mark.parametrize("page", PAGES)
def test_examples_are_well_formed(page: str) -> None:
    """`sh` blocks are examples, or set up a machine.  They are not run, but every line is looked at.

    jvs parses its own; jobs of the Makefile exist; what is installed is what test_wheel.py installs.
    """
    lines = [
        line
        for block in FENCED.finditer((ROOT / page).read_text())
        if block[1] == "sh"
        for line in block[2].splitlines()
    ]
    for line in lines:
        code = re.sub(r"(^|\s)#.*", "", line)
        for words in calls(code):
            if words[0] == "jvs":
                parse(words[1:])
            elif words[0] == "make":
                subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True)
            elif "install" in words:
                assert " ".join(words[:-1]) in ("pipx install", "uv tool install"), line
                assert words[-1] in ("jvs-fs", "."), line
        assert not code.strip() or any(word in code for word in ("jvs", "make", "install")), (
            f"looked at by nobody: {line}"
        )


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = FENCED.sub("", (ROOT / page).read_text())
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    files = [target.partition("#")[0] for target in targets if "://" not in target]
    broken = [file for file in files if file and not (ROOT / page).parent.joinpath(file).exists()]
    assert not broken


def test_the_two_commands_stand_on_the_first_screen() -> None:
    first_screen = (ROOT / "README.md").read_text().splitlines()[:40]
    assert "make demo" in "\n".join(first_screen)
    assert "make test" in "\n".join(first_screen)


@pytest.mark.parametrize("page", PAGES)
def test_pages_name_no_machine(page: str) -> None:
    text = (ROOT / page).read_text()
    assert not re.findall(r"(?<![\w.])/(?:home|root|work|Users)/\w+", text)
