"""Retention policies: what is typed, what is stored, which label obeys which, and what they keep."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jvs.errors import IntegrityError, UsageError
from jvs.labels.durations import MAX_DURATION, UNITS, duration_text, parse_duration
from jvs.labels.names import check_pattern
from jvs.labels.retention import Keeper, Policies, decode_policy, keep, parse_policy

GOLDEN = Path(__file__).parents[1] / "golden" / "retention.txt"
DAY = UNITS["d"]


def to_ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


def golden_blocks() -> Iterator[tuple[str, int, list[tuple[int, int, str]]]]:
    policy, now, rows = "", 0, []
    lines = [line for line in GOLDEN.read_text().splitlines() if not line.startswith("#")]
    for line in [*lines, ""]:
        if line.startswith("policy: "):
            policy = line.removeprefix("policy: ")
        elif line.startswith("now: "):
            now = to_ms(line.removeprefix("now: "))
        elif line:
            generation, when, reasons = line.split(maxsplit=2)
            rows.append((int(generation), to_ms(when), reasons))
        elif rows:
            yield policy, now, rows
            rows = []


@pytest.mark.parametrize(("policy", "now", "rows"), list(golden_blocks()))
def test_policies_keep_what_the_golden_table_says(policy: str, now: int, rows: list[tuple[int, int, str]]) -> None:
    kept = keep(parse_policy([policy]), rows, now)
    wanted = [(generation, tuple(reasons.split(", "))) for generation, _at, reasons in rows if reasons != "-"]
    assert [tuple(one) for one in kept] == wanted


def test_the_golden_table_has_every_rule() -> None:
    said = " ".join(policy for policy, _now, _rows in golden_blocks())
    rules = "all last within hourly daily weekly monthly yearly deleted".split()
    assert [rule for rule in rules if f"keep-{rule}" not in said] == []
    assert len(list(golden_blocks())) >= 14


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("0", 0),
        ("30d", 30 * DAY),
        ("12h", DAY // 2),
        ("1y", 365 * DAY),
        ("2w", 14 * DAY),
        ("6mo", 180 * DAY),
        ("90min", 5_400_000),
        ("45s", 45_000),
        ("1ms", 1),
        ("1d12h", DAY + DAY // 2),
        ("12h1d", DAY + DAY // 2),
        ("0d", 0),
    ],
)
def test_a_duration_is_a_number_of_milliseconds(text: str, milliseconds: int) -> None:
    assert parse_duration(text) == milliseconds
    assert parse_duration(duration_text(milliseconds)) == milliseconds


@given(st.integers(0, MAX_DURATION))
def test_a_duration_survives_being_written(milliseconds: int) -> None:
    assert parse_duration(duration_text(milliseconds)) == milliseconds


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "d", "30", "-1d", "1.5h", "30m", "3 d", "1d1d", "1D", "1x", "1d,2h", "\u0661d", "1y" * 50),
        *("1001y", "0x1d", "1d\0", "1d\n", "99999999999999999999d"),
    ],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_duration(text)
    assert caught.value.code == "bad-duration"
    assert caught.value.next


def test_a_policy_is_put_in_one_order_and_written_as_it_is_typed() -> None:
    policy = parse_policy(["keep-daily", "7", "keep-last", "01", "keep-within", "4w2d"])
    assert str(policy) == "keep-last 1 keep-within 30d keep-daily 7"
    assert policy == parse_policy(["keep-last 1 keep-within 30d", "keep-daily 7"])
    assert policy.deleted_ms == 14 * DAY
    assert parse_policy(["keep-last 1 keep-deleted 0"]).deleted_ms == 0
    assert str(parse_policy(["keep-deleted 2d"])) == "keep-all keep-deleted 2d"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "keep-some 3",
        "last 3",
        "keep-last",
        "keep-last -1",
        "keep-last x",
        "keep-last 1.5",
        "keep-last 9999999999",
        "keep-last " + "9" * 10_000,
        "keep-last \u0663",
        "keep-last 1 keep-last 1",
        "keep-last 1 2",
        "keep-daily 0",
        "keep-within 0",
        "keep-all keep-last 3",
        "keep-within 30d keep-all",
        "keep-all 3",
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_policy(text.split(" "))
    assert caught.value.code == "bad-policy"
    assert caught.value.next


@pytest.mark.parametrize("text", ["keep-within", "keep-within 30", "keep-deleted soon"])
def test_a_rule_without_its_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_policy([text])
    assert caught.value.code == "bad-duration"


COUNTED = ["keep-hourly", "keep-daily", "keep-weekly", "keep-monthly", "keep-yearly"]
policies = st.builds(
    lambda last, within, periods, deleted: parse_policy(
        [
            *([] if last is None else [f"keep-last {last}"]),
            *([] if within is None else [f"keep-within {within}ms"]),
            *(f"{name} {count}" for name, count in periods.items()),
            f"keep-deleted {deleted}d",
        ]
    ),
    st.none() | st.integers(0, 5),
    st.none() | st.integers(1, 90 * DAY),
    st.dictionaries(st.sampled_from(COUNTED), st.integers(1, 5)),
    st.integers(0, 100),
)


@given(policies)
def test_a_policy_survives_being_stored_and_written(policy: object) -> None:
    assert decode_policy(policy.encode()) == policy  # type: ignore[attr-defined]
    assert parse_policy([str(policy)]) == policy


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [["keep-last", 1], ["keep-last", 1]],
        [["keep-within", 1], ["keep-last", 1]],
        [["keep-last", -1]],
        [["keep-last", True]],
        [["keep-last", 1.0]],
        [["keep-last", "1"]],
        [["keep-last", 1 << 63]],
        [["keep-some", 1]],
        [["keep-all", 0], ["keep-last", 1]],
        [["keep-deleted", 1]],
        [["keep-last"]],
        [["keep-last", 1, 1]],
        [[["keep-last"], 1]],
        [3],
        {"keep-last": 1},
        "keep-last 1",
    ],
)
def test_bytes_that_are_no_canonical_policy_are_refused(rows: object) -> None:
    with pytest.raises(IntegrityError):
        decode_policy(msgpack.packb(rows))


@pytest.mark.parametrize("raw", [b"", b"\xc1", b"\x91", b"\x91\x92\xa9keep-last\xcc\x01", b"\x90\x00"])
def test_other_encodings_of_a_policy_are_refused(raw: bytes) -> None:
    with pytest.raises(IntegrityError):
        decode_policy(raw)


times = st.lists(st.integers(0, 60 * DAY), max_size=60).map(lambda ages: sorted(ages, reverse=True))


@given(policies, times, st.integers(0, 70 * DAY))
def test_a_union_keeps_what_its_rules_keep(policy: object, ats: list[int], now: int) -> None:
    entries = [(len(ats) - index, at) for index, at in enumerate(ats)]
    kept = keep(policy, entries, now)  # type: ignore[arg-type]
    alone: set[int] = set()
    for rule in policy.rules:  # type: ignore[attr-defined]
        if rule.name != "keep-deleted":
            alone |= {one.generation for one in keep(parse_policy([str(rule)]), entries, now)}
    assert {one.generation for one in kept} == alone


@given(policies, times, st.integers(0, 70 * DAY))
def test_what_was_kept_is_kept_when_only_that_is_left(policy: object, ats: list[int], now: int) -> None:
    """So a second run at the same time drops nothing."""
    entries = [(len(ats) - index, at) for index, at in enumerate(ats)]
    kept = {one.generation for one in keep(policy, entries, now)}  # type: ignore[arg-type]
    left = [entry for entry in entries if entry[0] in kept]
    assert {one.generation for one in keep(policy, left, now)} == kept  # type: ignore[arg-type]


def test_a_keeper_answers_for_times_no_calendar_has() -> None:
    keeper = Keeper(parse_policy(["keep-monthly 2 keep-yearly 1 keep-hourly 1 keep-weekly 1"]), 0)
    assert keeper.reasons((1 << 63) - 1)
    assert keeper.reasons(0) == ("keep-monthly 2",)


def test_a_label_obeys_its_name_then_the_longest_pattern_then_the_default() -> None:
    texts = {"*": "keep-last 9", "agent/*": "keep-last 1", "agent/*/x": "keep-last 2", "agent/1": "keep-last 3"}
    texts |= {"?xact": "keep-last 4", "[e-f]xact": "keep-last 5", "b?": "keep-last 6", "?b": "keep-last 7"}
    found = Policies({pattern: parse_policy([text]) for pattern, text in texts.items()})
    wanted = {
        "agent/1": "agent/1",
        "agent/2": "agent/*",
        "agent/a/b": "agent/*",  # a star stands for slashes too
        "agent/a/x": "agent/*/x",
        "agent": "*",
        "exact": "[e-f]xact",
        "gxact": "?xact",
        "bb": "?b",  # equally long: the first in byte order
        "autosave/main": "autosave/*",
        "main": "*",
    }
    assert {name: found.of(name)[0] for name in wanted} == wanted
    assert str(found.of("autosave/main")[1]) == "keep-within 30d"
    assert str(Policies({}).of("main")[1]) == "keep-all"
    assert [pattern for pattern, _policy in Policies({})] == ["*", "autosave/*"]


def test_patterns_are_made_of_what_labels_are_made_of() -> None:
    for pattern in ("*", "main", "agent/*", "[!a-c]?", "\u00e9*", "x" * 255):
        assert check_pattern(pattern) == pattern
    for pattern in ("", "a b", "a\0", "{a,b}", "a:b", "x" * 256, "\udc80", "e\u0301", "a\n"):
        with pytest.raises(UsageError) as caught:
            check_pattern(pattern)
        assert caught.value.code == "bad-policy"
