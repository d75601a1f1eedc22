"""The runner of the pages' code blocks: it must go red where a page lies."""

from __future__ import annotations

import pytest

from devtools.transcripts import faults, matches, rewritten

FENCE = "```"


def page(*lines: str, kind: str = "console") -> str:
    """A page with one block."""
    return "\n".join(["# A page", "", f"{FENCE}{kind}", *lines, FENCE, "", "The end.", ""])


def test_a_true_page_has_no_faults() -> None:
    assert faults(page("$ echo one; echo two >&2", "one", "two", "$ echo three", "three")) == []


@pytest.mark.parametrize(
    "block",
    [
        page("$ echo one", "two"),
        page("$ echo one"),
        page("$ true", "something"),
        page("$ echo one; echo two", "one"),
        page("$ echo one; false", "one"),
        page("raise SystemExit(3)", kind="python"),
        "<!-- setup\nfalse\n-->\n",
    ],
)
def test_a_page_that_lies_has_a_fault(block: str) -> None:
    assert len(faults(block)) == 1


def test_a_page_is_one_session_in_one_directory() -> None:
    text = "<!-- setup\nmkdir data; echo hello > data/f\n-->\n"
    text += page("$ cd data") + page("$ cat \\", ">   f", "hello") + page("open('f')", kind="python")
    assert faults(text) == []


def test_the_directory_of_the_session_has_one_name_in_every_run() -> None:
    assert faults(page("$ mkdir below; cd below; pwd -P", "/data/below")) == []


def test_text_before_the_first_command_is_refused() -> None:
    with pytest.raises(ValueError, match="console block"):
        faults(page("echo one"))


@pytest.mark.parametrize(
    ("shown", "output"),
    [
        ("main 0a1b2c3d4e5f", "main ffffffffffff"),
        ("at 2026-11-20 10:00", "at 2027-01-01 23:59"),
        ("12.5 KiB in 3 ms", "7 B in 1.2 s"),
        ("a\n...\nz", "a\nb\nc\nz"),
        ("a\n...\nz", "a\nz"),
        ("name      size", "name size"),
    ],
)
def test_what_differs_from_run_to_run_is_the_same(shown: str, output: str) -> None:
    assert matches(shown + "\n", output + "\n")


@pytest.mark.parametrize(
    ("shown", "output"), [("3 files", "4 files"), ("main", "mainly"), ("a\nz", "a\nb\nz"), ("a.c", "abc")]
)
def test_everything_else_is_not(shown: str, output: str) -> None:
    assert not matches(shown + "\n", output + "\n")


def test_rewriting_puts_the_real_output_in_place_of_the_wrong_one_only() -> None:
    true = page("$ echo one", "one", "", "$ echo 1 ms", "2 ms")
    false = page("$ echo one", "two", "", "$ echo 1 ms", "2 ms")
    assert rewritten(false) == true
    assert rewritten(true) == true


def test_rewriting_stops_at_a_command_that_fails() -> None:
    with pytest.raises(ValueError, match="exit status 1"):
        rewritten(page("$ false"))
