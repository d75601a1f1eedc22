"""docs/workflows/ in the sizes that people have: the very pages, with larger numbers in them.

In the sizes that they show, test_docs.py runs them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from devtools import transcripts

WORKFLOWS = Path(__file__).resolve().parents[2] / "docs" / "workflows"
LARGER = {
    "agent-sandbox.md": ("CYCLES = 20\n", "CYCLES = 200\n"),
    "game-assets.md": ("$((64 << 20))", "$((2 << 30))"),
}


@pytest.mark.parametrize("page", LARGER)
def test_pages_have_the_numbers_that_are_replaced(page: str) -> None:
    assert (WORKFLOWS / page).read_text().count(LARGER[page][0]) == 1


@pytest.mark.torture
@pytest.mark.parametrize("page", LARGER)
def test_in_full(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcripts, "TIMEOUT_SECONDS", 3600)
    found = transcripts.faults((WORKFLOWS / page).read_text().replace(*LARGER[page]))
    assert not found, "\n\n".join(found)
