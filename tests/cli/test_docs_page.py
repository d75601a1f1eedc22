"""docs/cli.md is what the commands say."""

from __future__ import annotations

from pathlib import Path

from jvs.cli.docs import page

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_what_the_generator_prints() -> None:
    assert (ROOT / "docs/cli.md").read_text() == page(), "next: python -m jvs.cli.docs > docs/cli.md"
