"""Times as people type them."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jvs.errors import UsageError
from jvs.labels.when import parse_when

NOW = datetime(2026, 11, 20, 15, 30, 45, tzinfo=UTC)  # a Friday
NOW_MS = int(NOW.timestamp() * 1000)


def said(text: str, zone: str = "UTC", now_ms: int = NOW_MS) -> str:
    """The time meant, in UTC, to the second."""
    return datetime.fromtimestamp(parse_when(text, now_ms, ZoneInfo(zone)) / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("now", "2026-11-20 15:30:45"),
        ("today", "2026-11-20 00:00:00"),
        ("yesterday", "2026-11-19 15:30:45"),
        ("Yesterday", "2026-11-19 15:30:45"),
        ("yesterday noon", "2026-11-19 12:00:00"),
        ("noon yesterday", "2026-11-19 12:00:00"),
        ("yesterday 09:15", "2026-11-19 09:15:00"),
        ("midnight", "2026-11-20 00:00:00"),
        ("noon", "2026-11-20 12:00:00"),
        ("10:30", "2026-11-20 10:30:00"),
        ("10:30:15", "2026-11-20 10:30:15"),
        ("16:00", "2026-11-19 16:00:00"),  # today's lies ahead
        ("today 16:00", "2026-11-20 16:00:00"),
        ("1.hour.ago", "2026-11-20 14:30:45"),
        ("1 hour", "2026-11-20 14:30:45"),
        ("3 days ago", "2026-11-17 15:30:45"),
        ("3_days_ago", "2026-11-17 15:30:45"),
        ("3-days-ago", "2026-11-17 15:30:45"),
        ("1 day 2 hours ago", "2026-11-19 13:30:45"),
        ("90 seconds ago", "2026-11-20 15:29:15"),
        ("5 min ago", "2026-11-20 15:25:45"),
        ("a week ago", "2026-11-13 15:30:45"),
        ("an hour ago", "2026-11-20 14:30:45"),
        ("two weeks ago", "2026-11-06 15:30:45"),
        ("ten minutes ago", "2026-11-20 15:20:45"),
        ("last week", "2026-11-13 15:30:45"),
        ("1 month ago", "2026-10-20 15:30:45"),
        ("9 months ago", "2026-02-20 15:30:45"),
        ("1 year 1 month ago", "2025-10-20 15:30:45"),
        ("3 days ago noon", "2026-11-17 12:00:00"),
        ("thursday", "2026-11-19 15:30:45"),
        ("last friday", "2026-11-13 15:30:45"),  # not today
        ("mon", "2026-11-16 15:30:45"),
        ("last monday 8:05", "2026-11-16 08:05:00"),
        ("nov 3", "2026-11-03 00:00:00"),
        ("3 nov", "2026-11-03 00:00:00"),
        ("November 3 2024", "2024-11-03 00:00:00"),
        ("3 November 2024, 10:00", "2024-11-03 10:00:00"),
        ("dec 24", "2025-12-24 00:00:00"),  # this year's lies ahead
        ("2026-11-20", "2026-11-20 00:00:00"),
        ("2026-11-20T10:00", "2026-11-20 10:00:00"),
        ("2026-11-20 10:00:07", "2026-11-20 10:00:07"),
        ("2026-11-20T10:00:07.250Z", "2026-11-20 10:00:07"),
        ("2026-11-20T10:00Z", "2026-11-20 10:00:00"),
        ("2026-11-20T10:00+02:00", "2026-11-20 08:00:00"),
        ("2026-11-20 10:00 -0530", "2026-11-20 15:30:00"),
        ("2026-11-20t10:00+02", "2026-11-20 08:00:00"),
        ("2026-1-2", "2026-01-02 00:00:00"),
        ("@1790000000", "2026-09-21 14:13:20"),
    ],
)
def test_what_people_say(text: str, moment: str) -> None:
    assert said(text) == moment


@pytest.mark.parametrize(
    "text",
    [
        "", " ", ".", "yesterdya", "tomorrow", "ago", "3", "3 parsecs ago", "-1", "days ago", "last", "last nothing",
        "2026-13-01", "2026-02-30", "2026-11-20T25:00", "2026-11-20T10", "2026-11-20T10:00+25:00", "20261120",
        "10:60", "24:00", "monday tuesday", "noon 10:00", "nov", "nov 31", "nov x", "now now", "12 nov 99999",
        "1000001 days ago", "999999 years ago", "999999 weeks ago", "@", "@x", "@9999999999999", "\u0663 days ago",
    ],
)  # fmt: skip
def test_what_is_not_understood_is_never_now(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        said(text)
    assert caught.value.code == "bad-revision"
    assert caught.value.message.isprintable()


@given(st.text("0123456789 .:-@TZ+adnowyesthrlgj", max_size=25))
def test_any_text_is_a_time_or_a_usage_error(text: str) -> None:
    try:
        moment = parse_when(text, NOW_MS, UTC)
    except UsageError:
        return
    assert isinstance(moment, int)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2400, 1, 1)))
def test_exact_times_round_trip(moment: datetime) -> None:
    wanted = moment.replace(tzinfo=UTC, microsecond=moment.microsecond // 1000 * 1000)
    assert parse_when(wanted.isoformat(), NOW_MS) == round(wanted.timestamp() * 1000)


def test_times_without_a_zone_are_of_the_given_one() -> None:
    assert said("2026-07-01T10:00", "Europe/Berlin") == "2026-07-01 08:00:00"
    assert said("2026-12-01T10:00", "Europe/Berlin") == "2026-12-01 09:00:00"
    assert said("today", "Asia/Tokyo") == "2026-11-20 15:00:00"  # the 21st there
    assert said("noon", "America/New_York") == "2026-11-19 17:00:00"  # today's noon lies ahead there


def test_days_ago_are_elapsed_time_across_a_change_of_clocks() -> None:
    monday_noon = int(datetime(2026, 10, 26, 11, tzinfo=UTC).timestamp() * 1000)  # 12:00, an hour back since Sunday
    assert said("2 days ago", "Europe/Berlin", monday_noon) == "2026-10-24 11:00:00"
    assert said("yesterday noon", "Europe/Berlin", monday_noon) == "2026-10-25 11:00:00"
    assert said("last saturday", "Europe/Berlin", monday_noon) == "2026-10-24 10:00:00"
    assert said("2 days ago noon", "Europe/Berlin", monday_noon) == "2026-10-24 10:00:00"


def test_the_default_zone_is_the_systems() -> None:
    """In a process of its own, whose zone is set."""
    code = (
        "from jvs.labels.when import parse_when\n"
        f"print(parse_when('2026-07-01T10:00', {NOW_MS}), parse_when('today', {NOW_MS}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"TZ": "UTC-9", "PYTHONPATH": ":".join(sys.path)},  # POSIX spells UTC+9 like that
        capture_output=True,
        text=True,
        check=True,
    )
    expected = [datetime(2026, 7, 1, 1, tzinfo=UTC), datetime(2026, 11, 20, 15, tzinfo=UTC)]
    assert done.stdout.split() == [str(int(moment.timestamp() * 1000)) for moment in expected]
