"""Retention policies: which entries of a reflog are kept, as pure functions (docs/labels.md).

A policy is a union of rules; an entry is kept when any of them keeps it.

    keep-all                    everything; what holds where nobody said anything
    keep-last N                 the N newest entries; 0: nothing but the head's snapshot
    keep-within DURATION        entries made in that time before now
    keep-hourly N               of each of the N newest hours in which there are entries the newest one;
                                keep-daily, keep-weekly, keep-monthly and keep-yearly alike
    keep-deleted DURATION       how long a deleted label stays as it was and can come back (0: until the next gc)

Hours, days, weeks (from Monday), months and years are those of UTC, so the same entries are kept wherever the
collector runs. The head's snapshot is always kept, whatever the policy says.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any, Final, NamedTuple

import msgpack

from jvs.errors import IntegrityError, UsageError
from jvs.labels.durations import duration_text, parse_duration
from jvs.labels.names import shown

MAX_COUNT: Final = 1_000_000_000
DELETED_MS: Final = 14 * 86_400_000
"""How long a deleted label stays where its policy says nothing about it."""

_ALL, _LAST, _WITHIN, _DELETED = "keep-all", "keep-last", "keep-within", "keep-deleted"
_PERIODS: Final = ("keep-hourly", "keep-daily", "keep-weekly", "keep-monthly", "keep-yearly")
_ORDER: Final = (_ALL, _LAST, _WITHIN, *_PERIODS, _DELETED)
_DURATIONS: Final = (_WITHIN, _DELETED)
_MAY_BE_ZERO: Final = (_LAST, _DELETED)
_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()


class Rule(NamedTuple):
    """One rule; `amount` is a number of entries or periods, or milliseconds (keep-all: 0)."""

    name: str
    amount: int

    def __str__(self) -> str:
        """As it is typed."""
        if self.name == _ALL:
            return self.name
        return f"{self.name} {duration_text(self.amount) if self.name in _DURATIONS else self.amount}"


class Policy(NamedTuple):
    """The rules of one pattern: each kind at most once, in one order, so that equal policies are equal bytes."""

    rules: tuple[Rule, ...]

    def __str__(self) -> str:
        """As it is typed."""
        return " ".join(map(str, self.rules))

    @property
    def keeps_all(self) -> bool:
        """Whether no entry ever leaves the window."""
        return self.rules[0].name == _ALL

    @property
    def deleted_ms(self) -> int:
        """How long a deleted label stays."""
        return next((rule.amount for rule in self.rules if rule.name == _DELETED), DELETED_MS)

    def encode(self) -> bytes:
        """The canonical bytes: a msgpack array of [name, amount]."""
        packed: bytes = msgpack.packb(self.rules)
        return packed


class Kept(NamedTuple):
    """An entry that a policy keeps, and the rules that say so."""

    generation: int
    reasons: tuple[str, ...]


def parse_policy(words: Iterable[str]) -> Policy:
    """The policy in `keep-last 1 keep-within 30d ...`, given as words or as one text. Raises UsageError (bad-policy,
    bad-duration) for what cannot be meant."""
    left = " ".join(words).split()
    if not left:
        raise _malformed("it has no rule")
    amounts: dict[str, int] = {}
    while left:
        name = left.pop(0)
        if name not in _ORDER:
            raise _malformed(f"{shown(name)} is no rule; the rules are {', '.join(_ORDER)}")
        if name in amounts:
            raise _malformed(f"{name} is said twice")
        amounts[name] = 0 if name == _ALL else _amount(name, left.pop(0) if left else "")
    return _policy(amounts)


def _policy(amounts: Mapping[str, int]) -> Policy:
    """The policy with these rules, put in order and checked for sense."""
    about_entries = [name for name in amounts if name != _DELETED]
    if _ALL in amounts and len(about_entries) > 1:
        raise _malformed("beside keep-all another rule keeps nothing more")
    if not about_entries:
        amounts = {**amounts, _ALL: 0}  # who only speaks of deleted labels does not mean that the others lose anything
    return Policy(tuple(Rule(name, amounts[name]) for name in _ORDER if name in amounts))


def _amount(name: str, word: str) -> int:
    if name in _DURATIONS:
        amount = parse_duration(word)
    elif word.isascii() and word.isdigit() and int(word[:20]) <= MAX_COUNT:
        amount = int(word[:20])
    else:
        raise _malformed(f"after {name} comes a number up to {MAX_COUNT:,}, not {shown(word)}")
    if not amount and name not in _MAY_BE_ZERO:
        raise _malformed(f"{name} 0 keeps nothing: leave it out")
    return amount


def _malformed(why: str) -> UsageError:
    return UsageError(f"not a retention policy: {why}", code="bad-policy")


def decode_policy(raw: bytes) -> Policy:
    """The policy in `raw`; raises IntegrityError (damaged) unless it is one in its canonical bytes."""
    try:
        rows = msgpack.unpackb(raw)
        amounts = dict(rows)
        sound = all(type(amount) is int and 0 <= amount < 1 << 63 for amount in amounts.values())
        policy = _policy(amounts) if sound else None
        if policy is not None and policy.encode() == raw:
            return policy
    except (ValueError, TypeError, msgpack.UnpackException, UsageError):
        pass
    raise IntegrityError("a retention policy is not in the canonical encoding")


class Keeper:
    """Applies a policy to the entries of one label, told to it from the newest to the oldest.

    Holds a few numbers, however long the reflog is.
    """

    def __init__(self, policy: Policy, now_ms: int) -> None:
        self._now_ms = now_ms
        self._rules = [_Count(rule) for rule in policy.rules if rule.name != _DELETED]

    def reasons(self, at_ms: int) -> tuple[str, ...]:
        """The rules that keep the next entry, as they are typed; none: it has left the window."""
        return tuple(count.text for count in self._rules if count.keeps(at_ms, self._now_ms))


class _Count:
    """One rule, and how far it has been used up."""

    def __init__(self, rule: Rule) -> None:
        self.text = str(rule)
        self._rule = rule
        self._left = rule.amount
        self._period: int | None = None

    def keeps(self, at_ms: int, now_ms: int) -> bool:
        name = self._rule.name
        if name == _ALL:
            return True
        if name == _WITHIN:
            return now_ms - at_ms <= self._rule.amount
        if not self._left:
            return False
        if name in _PERIODS:
            period = _period(name, at_ms)
            if period == self._period:
                return False
            self._period = period
        self._left -= 1
        return True


def _period(name: str, at_ms: int) -> int:
    """The number of the hour, day, ... that a time lies in."""
    if name == "keep-hourly":
        return at_ms // _HOUR_MS
    day = at_ms // _DAY_MS
    if name == "keep-daily":
        return day
    if name == "keep-weekly":
        return (day + 3) // 7  # day 0 was a Thursday
    # A clock can say anything: what lies beyond the last year of the calendar counts as its last day.
    when = date.fromordinal(min(day + _EPOCH_ORDINAL, date.max.toordinal()))
    return when.year if name == "keep-yearly" else when.year * 12 + when.month


def keep(policy: Policy, entries: Iterable[tuple[Any, ...]], now_ms: int) -> list[Kept]:
    """The entries that a policy keeps, with the reasons. `entries`: (generation, at_ms, ...), newest first."""
    keeper = Keeper(policy, now_ms)
    judged = (Kept(entry[0], keeper.reasons(entry[1])) for entry in entries)
    return [kept for kept in judged if kept.reasons]


BUILT_IN: Final[Mapping[str, Policy]] = {
    "*": parse_policy(["keep-all"]),
    "autosave/*": parse_policy(["keep-within", "30d"]),
}
"""What holds until somebody sets a policy for the same pattern."""


class Policies:
    """Every policy of a store, and which of them a label obeys.

    That of its exact name; else that of the longest pattern which matches (of equally long ones the first in byte
    order). `*` also stands for slashes. The built-in ones count like any other, so a policy for `*` does not touch
    autosaves.
    """

    def __init__(self, stored: Mapping[str, Policy]) -> None:
        self._policies = {**BUILT_IN, **stored}
        self._globs = [
            (re.compile(fnmatch.translate(pattern)), pattern)
            for pattern in sorted(self._policies, key=lambda one: (-len(one), one.encode()))
        ]

    def __iter__(self) -> Iterator[tuple[str, Policy]]:
        """(pattern, policy), in byte order of the patterns."""
        return iter(sorted(self._policies.items(), key=lambda item: item[0].encode()))

    def of(self, name: str) -> tuple[str, Policy]:
        """(pattern, policy) that the label `name` obeys."""
        pattern = name
        if name not in self._policies:
            pattern = next(pattern for glob, pattern in self._globs if glob.match(name))
        return pattern, self._policies[pattern]
