"""Times as people type them after `@`: `yesterday`, `2 hours ago`, `2026-11-20T10:00`, `last friday`, ...

Unlike git's approxidate, what is not understood is an error, never "now". Everything is relative to a given now and in
a given time zone (the system's when None), so the same text always means the same.

    now | today | yesterday | midnight | noon      today: its first moment; yesterday: 24 hours ago
    [N] UNIT[s] [...] [ago]                        second minute hour day week month year; several add up; a, one..ten
    [last] monday .. sunday                        the newest such day before today, at this time of day
    [12 ]nov[ 12][ 2026]                           a day of this year (the last one, if that lies ahead)
    10:30[:15]                                     of today (yesterday's, if that lies ahead), or of the day named
    2026-11-20[ |T]10:00[:00[.5]][Z|+01:00]        a date alone is its first moment
    @1790000000                                    Unix time in seconds

Words are separated by spaces, dots, underscores, commas or dashes.
"""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Final

from jvs.errors import UsageError
from jvs.labels.durations import parse_duration

MAX_AMOUNT: Final = 1_000_000

_ISO = re.compile(
    r"(\d{4})-(\d\d?)-(\d\d?)"
    r"(?:[T ](\d\d?):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?\s*(Z|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII | re.IGNORECASE,
)
_EPOCH = re.compile(r"@(\d{1,12})", re.ASCII)
_CLOCK = re.compile(r"(\d\d?):(\d\d)(?::(\d\d))?", re.ASCII)
_WORDS = re.compile(r"[ \t._,-]+")
_NUMBERS = {
    word: value for value, word in enumerate("zero one two three four five six seven eight nine ten".split()) if value
} | {"a": 1, "an": 1}
_SECONDS = {"second": 1, "sec": 1, "minute": 60, "min": 60, "hour": 3600, "hr": 3600, "day": 86400, "week": 604800}
_MONTHS_IN = {"month": 1, "year": 12}
_DAYS = [name.lower() for name in ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")]
_MONTHS = "january february march april may june july august september october november december".split()


def parse_when(text: str, now_ms: int, tz: tzinfo | None = None) -> int:
    """Unix time in ms of what `text` says. Raises UsageError (bad-revision)."""
    stripped = text.strip()
    try:
        exact = _exact(stripped, tz)
        if exact is not None:
            return _to_ms(exact)
        now = datetime.fromtimestamp(now_ms / 1000, UTC)
        return _to_ms(_Words(now, tz, stripped.lower()).moment())
    except (ValueError, OverflowError, OSError) as error:
        detail = f": {error}" if str(error) else ""
        raise UsageError(
            f"{text[:80]!r} is not a time I know{detail}",
            code="bad-revision",
            next="say it like yesterday, '2 hours ago', 2026-11-20 or 2026-11-20T10:00",
        ) from None


def parse_distance(text: str, now_ms: int, direction: int) -> int:
    """A duration from now (direction 1: ahead, -1: back), or a time as `parse_when` takes it; Unix time in ms. Raises
    UsageError for what is neither."""
    try:
        return now_ms + direction * parse_duration(text)
    except UsageError:
        return parse_when(text, now_ms)


def _exact(text: str, tz: tzinfo | None) -> datetime | None:
    """Times that need no now."""
    epoch = _EPOCH.fullmatch(text)
    if epoch:
        return datetime.fromtimestamp(int(epoch[1]), UTC)
    found = _ISO.fullmatch(text)
    if not found:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
    fraction = (found[7] or "").ljust(6, "0")[:6]
    moment = datetime(year, month, day, hour, minute, second, int(fraction))
    offset = found[8]
    if offset is None:
        return _local(moment, tz)
    return datetime.fromisoformat(moment.isoformat() + ("+00:00" if offset in "zZ" else offset))


def _local(moment: datetime, tz: tzinfo | None) -> datetime:
    """A naive time in the given zone, or in the system's."""
    return moment.astimezone() if tz is None else moment.replace(tzinfo=tz)


def _to_ms(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


class _Words:
    """The meaning of a phrase, gathered word by word. Raises ValueError for what it does not know.

    Days are wall-clock times of the zone (naive), so that "last monday" is the same time of day although the clocks
    changed meanwhile; seconds ago are elapsed time.
    """

    def __init__(self, now: datetime, tz: tzinfo | None, text: str) -> None:
        self._now = now.astimezone(tz).replace(tzinfo=None)
        self._tz = tz
        self._words = [word for word in _WORDS.split(text) if word]
        self._day: datetime | None = None
        self._clock: time | None = None
        self._clock_unless_said: time | None = None
        self._seconds_ago = 0
        self._months_ago = 0

    def moment(self) -> datetime:
        """The time meant."""
        if not self._words:
            raise ValueError
        while self._words:
            self._take(self._words.pop(0))
        relative = self._day is not None or self._seconds_ago or self._months_ago
        moment = _local(_months_before(self._day or self._now, self._months_ago), self._tz)
        moment = moment.astimezone(UTC) - timedelta(seconds=self._seconds_ago)
        clock = self._clock if self._clock is not None else self._clock_unless_said
        if clock is None:
            return moment
        date = moment.astimezone(self._tz).date()
        at_clock = _local(datetime.combine(date, clock), self._tz)
        if not relative and at_clock > _local(self._now, self._tz):
            at_clock = _local(datetime.combine(date - timedelta(days=1), clock), self._tz)
        return at_clock

    def _take(self, word: str) -> None:
        clock = _CLOCK.fullmatch(word)
        month = _index(word, _MONTHS)
        if word == "now":
            self._set_day(self._now)
        elif word == "today":
            self._set_day(self._now)
            self._clock_unless_said = time()
        elif word == "yesterday":
            self._seconds_ago += 86400
        elif word in ("midnight", "noon"):
            self._set_clock(time(12 if word == "noon" else 0))
        elif clock:
            self._set_clock(time(int(clock[1]), int(clock[2]), int(clock[3] or 0)))
        elif month is not None:
            self._take_date(month + 1)
        elif _index(word, _DAYS) is not None:
            self._take_weekday(word)
        elif word == "last" and self._words:
            self._take_unit(1) if self._is_unit(self._words[0]) else self._take_weekday(self._words.pop(0))
        elif word.isascii() and word.isdigit():
            self._take_number(int(word[:12]))
        elif word in _NUMBERS and self._words:
            self._take_unit(_NUMBERS[word])
        else:
            raise ValueError(word)

    def _take_number(self, number: int) -> None:
        following = self._words[0] if self._words else ""
        month = _index(following, _MONTHS)
        if month is not None:
            del self._words[0]
            self._words.insert(0, str(number))
            self._take_date(month + 1)
        else:
            self._take_unit(number)

    def _take_unit(self, amount: int) -> None:
        unit = self._words.pop(0).removesuffix("s") if self._words else ""
        if amount > MAX_AMOUNT:
            raise ValueError("that is too long ago")
        if unit in _SECONDS:
            self._seconds_ago += amount * _SECONDS[unit]
        elif unit in _MONTHS_IN:
            self._months_ago += amount * _MONTHS_IN[unit]
        else:
            raise ValueError(f"{amount} of what?")
        if self._words and self._words[0] == "ago":
            del self._words[0]

    def _take_weekday(self, word: str) -> None:
        weekday = _index(word, _DAYS)
        if weekday is None:
            raise ValueError(word)
        self._set_day(self._now - timedelta(days=(self._now.weekday() - weekday - 1) % 7 + 1))

    def _take_date(self, month: int) -> None:
        """A day, and perhaps a year, follow."""
        if not self._words or not self._words[0].isdecimal():
            raise ValueError("which day of the month?")
        day = int(self._words.pop(0)[:4])
        explicit = bool(self._words) and len(self._words[0]) == 4 and self._words[0].isdecimal()
        year = int(self._words.pop(0)) if explicit else self._now.year
        date = datetime(year, month, day)
        self._set_day(date if explicit or date <= self._now else datetime(year - 1, month, day))

    def _is_unit(self, word: str) -> bool:
        return word.removesuffix("s") in _SECONDS or word in _MONTHS_IN

    def _set_day(self, day: datetime) -> None:
        if self._day is not None:
            raise ValueError("two days are named")
        self._day = day

    def _set_clock(self, clock: time) -> None:
        if self._clock is not None:
            raise ValueError("two times of day are named")
        self._clock = clock


def _index(word: str, names: list[str]) -> int | None:
    """Which of `names` a word (its first three letters, or all) is."""
    for index, name in enumerate(names):
        if word == name or word == name[:3]:
            return index
    return None


def _months_before(moment: datetime, months: int) -> datetime:
    """The same day that many months earlier, or the last day of a shorter month."""
    total = moment.year * 12 + moment.month - 1 - months
    year, month = divmod(total, 12)
    if year < 1:
        raise ValueError("that is too long ago")
    day = min(moment.day, calendar.monthrange(year, month + 1)[1])
    return moment.replace(year=year, month=month + 1, day=day)
