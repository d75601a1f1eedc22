"""The progress bar."""

from __future__ import annotations

import io

import pytest

from jvs.cli.progress import Progress
from jvs.cli.ui import Ui


class Clock:
    """time.monotonic, moved by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("time.monotonic", made)
    return made


def test_nothing_is_drawn_for_half_a_second(clock: Clock) -> None:
    stream = io.StringIO()
    with Progress(stream, "push", 80) as progress:
        clock.now += 0.4
        progress.update(100, 1000, 1)
    assert stream.getvalue() == ""


def test_then_one_line_is_drawn_over_and_wiped_at_the_end(clock: Clock) -> None:
    stream = io.StringIO()
    with Progress(stream, "push", 200) as progress:
        clock.now += 1.0
        progress.update(1 << 20, 4 << 20, 12)
        progress.update(2 << 20, 4 << 20, 13)  # too soon after the last
        clock.now += 1.0
        progress.update(3 << 20, 4 << 20, 14)
    first, second, last = stream.getvalue().split("\r\x1b[K")[1:]
    assert first == "push  [######                  ]   25 %  1.0 MiB of 4.0 MiB  12 files  1.0 MiB/s  3.0 s left"
    assert second.startswith("push  [##################      ]   75 %")
    assert last == ""
    assert "\n" not in stream.getvalue()


def test_an_unknown_total_and_a_narrow_terminal(clock: Clock) -> None:
    progress = Progress(io.StringIO(), "push", 40)
    assert progress.line(2.0, 4 << 20, None, 1) == "push  4.0 MiB  1 file  2.0 MiB/s"
    assert len(progress.line(2.0, 1 << 20, 4 << 20, 1)) == 39


@pytest.mark.parametrize("option", ["quiet", "no_progress"])
def test_there_is_none_where_it_is_not_wanted(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    ui = Ui()
    with ui.progress("push") as shown:
        assert shown is not None
    setattr(ui, option, True)
    with ui.progress("push") as hidden:
        assert hidden is None


def test_there_is_none_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: False)
    with Ui().progress("push") as progress:
        assert progress is None
