"""README and docs/: every code block runs and prints what it shows, every relative link leads somewhere."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from devtools.transcripts import faults

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    str(page.relative_to(ROOT))
    for pattern in ("*.md", "docs/**/*.md", "*/README.md")
    for page in ROOT.glob(pattern)
    if not page.relative_to(ROOT).parts[0].startswith(".")
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


@pytest.mark.parametrize("page", PAGES)
def test_set_up_commands_exist(page: str) -> None:
    """`sh` blocks set up a machine, so they are not run here: but their jobs and names must be real ones.

    What pipx and `uv tool` do with the wheel is done in test_wheel.py.
    """
    for block in FENCED.finditer((ROOT / page).read_text()):
        for line in block[2].splitlines() if block[1] == "sh" else []:
            words = line.partition("#")[0].split()
            if words[:1] == ["make"]:
                subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True)
            elif words:
                known = (["pipx", "install"], ["uv", "tool", "install"], ["git", "clone"], ["cd", "jvs"])
                assert any(words[: len(start)] == start for start in known), line
                assert "install" not in words or words[-1] in ("jvs-fs", "."), line


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
