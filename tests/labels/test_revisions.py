"""What people may type to name a snapshot: parsing, which is pure, and resolution."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jvs.castore.digest import Digest
from jvs.errors import AmbiguousError, JvsError, UnknownError, UsageError
from jvs.labels import ANYTHING, Resolved
from jvs.labels.names import label_name_fault
from jvs.labels.revisions import (
    Absent,
    At,
    AtGeneration,
    Back,
    Generation,
    Named,
    Revision,
    Tagged,
    parse,
    parse_expected,
)
from jvs.labels.tables import DETACHED, IDS, SNAPSHOTS, entry_key, number
from tests.labels.support import DAY_MS, Desk

ID = "0123456789abcdef" * 4

label_names = st.text("abcdefgXYZ0189._-/\u00e9", min_size=1, max_size=20).filter(
    lambda name: label_name_fault(name) is None
)
path_parts = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8)
clean_paths = (
    st.lists(path_parts, max_size=4)
    .map("/".join)
    .filter(lambda path: not any(part in (".", "..") or part.casefold() == ".jvs" for part in path.split("/")))
)
bases = st.one_of(
    st.builds(Named, label_names),
    st.builds(Named, st.text("0123456789abcdef", min_size=8, max_size=64)),
    st.builds(Back, label_names, st.integers(0, 10**12)),
    st.builds(Generation, label_names, st.integers(0, 10**12)),
    st.builds(At, label_names, st.sampled_from(["yesterday", "2 days ago", "2026-11-20T10:00", "last friday"])),
    st.builds(Tagged, st.text("abc019._-+=", min_size=1, max_size=9).filter(lambda tag: tag[0] not in "-.")),
)


@given(bases, st.none() | clean_paths)
def test_what_is_written_is_read_back(base: Named, path: str | None) -> None:
    revision = Revision(base, None if path is None else path.encode())
    assert parse(str(revision)) == revision


@given(st.text(max_size=40))
def test_any_text_is_a_revision_or_a_usage_error(text: str) -> None:
    faults: list[UsageError] = []
    for read in (parse, parse_expected):
        try:
            read(text)
        except UsageError as error:
            faults.append(error)
    assert all(fault.code in ("bad-revision", "bad-id", "bad-path", "usage") for fault in faults)
    assert all(fault.message.isprintable() for fault in faults)


@pytest.mark.parametrize(
    ("text", "base", "path"),
    [
        ("main", Named("main"), None),
        ("agent/1", Named("agent/1"), None),
        ("main:", Named("main"), b""),
        ("main:a/b", Named("main"), b"a/b"),
        ("main:/a//b/", Named("main"), b"a/b"),
        ("main:a:b", Named("main"), b"a:b"),
        ("main:a@{1}", Named("main"), b"a@{1}"),
        ("main:\udcff", Named("main"), b"\xff"),
        ("main@{2}", Back("main", 2), None),
        ("main@{0}:x", Back("main", 0), b"x"),
        ("main@7", Generation("main", 7), None),
        ("main@7:x", Generation("main", 7), b"x"),
        ("main@{yesterday}", At("main", "yesterday"), None),
        ("main@{ 1.hour.ago }", At("main", "1.hour.ago"), None),
        ("main@{2026-11-20T10:00}:d/e", At("main", "2026-11-20T10:00"), b"d/e"),
        ("tag:v1", Tagged("v1"), None),
        ("tag:v1:a", Tagged("v1"), b"a"),
        ("tag:deadbeef", Tagged("deadbeef"), None),
        ("01234567", Named("01234567"), None),
        (ID, Named(ID), None),
        (ID + ":a", Named(ID), b"a"),
    ],
)
def test_parse(text: str, base: Named, path: bytes | None) -> None:
    assert parse(text) == Revision(base, path)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "bad-revision"),
        (":a", "bad-revision"),
        ("@", "bad-revision"),
        ("@{1}", "bad-revision"),
        ("main@", "bad-revision"),
        ("main@{", "bad-revision"),
        ("main@{}", "bad-revision"),
        ("main@{ }", "bad-revision"),
        ("main@{1", "bad-revision"),
        ("main@{1}}", "bad-revision"),
        ("main@{1}x", "bad-revision"),
        ("main@x", "bad-revision"),
        ("main@-1", "bad-revision"),
        ("main@\u0661", "bad-revision"),
        ("main@" + "1" * 19, "bad-revision"),
        ("main@{" + "1" * 5000 + "}", "bad-revision"),
        ("main@{a\nb}", "bad-revision"),
        ("a b", "bad-revision"),
        ("-x", "bad-revision"),
        ("HEAD", "bad-revision"),
        ("a//b", "bad-revision"),
        (ID + "@{1}", "bad-revision"),
        ("deadbeef@1", "bad-revision"),
        ("DEADBEEF", "bad-id"),
        (ID + "0", "bad-id"),
        (ID.upper(), "bad-id"),
        ("main:../x", "bad-path"),
        ("main:a/.JVS/b", "bad-path"),
        ("main:\ud800", "bad-path"),
        ("main:a\0b", "bad-path"),
        ("tag:", "bad-tag"),
        ("tag:a b", "bad-tag"),
    ],
)
def test_malformed(text: str, code: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert caught.value.code == code


def test_parse_expected() -> None:
    assert parse_expected("0") == Absent()
    assert parse_expected("00") == Absent()
    assert parse_expected("7") == AtGeneration(7)
    assert parse_expected("12345678") == AtGeneration(12345678)  # digits only: never a prefix
    assert parse_expected("1" * 64) == Revision(Named("1" * 64))
    assert parse_expected("main@{1}") == Revision(Back("main", 1))
    for text in ("1" * 19, "main:a", "", "main@"):
        with pytest.raises(UsageError):
            parse_expected(text)


def found(desk: Desk, text: str) -> tuple[Digest, str | None, int | None]:
    """(CA id, label, generation) of a revision."""
    resolved = desk.labels.resolve(text, tz=UTC)
    return resolved.ca_id, resolved.label, resolved.generation


def refused(desk: Desk, text: str) -> JvsError:
    with pytest.raises(JvsError) as caught:
        desk.labels.resolve(text, tz=UTC)
    return caught.value


@pytest.fixture
def desk() -> Desk:
    """`main` with one entry a day, `s0` to `s4`; the clock is half a day after the last."""
    desk = Desk()
    for day in range(5):
        desk.labels.compare_and_set("main", day, desk.snapshot(f"s{day}"), tags=[f"day{day}"])
        desk.clock.now_ms += DAY_MS
    desk.clock.now_ms -= DAY_MS // 2
    return desk


def test_labels_moves_and_generations(desk: Desk) -> None:
    s = [desk.snapshot(f"s{day}") for day in range(5)]
    assert found(desk, "main") == (s[4], "main", 5)
    assert found(desk, "main@{0}") == (s[4], "main", 5)
    assert found(desk, "main@{2}") == (s[2], "main", 3)
    assert found(desk, "main@{4}") == (s[0], "main", 1)
    assert found(desk, "main@1") == (s[0], "main", 1)
    assert found(desk, "tag:day3") == (s[3], "main", 4)
    for text in ("main@{5}", "main@0", "main@6"):
        assert refused(desk, text).code == "unknown-revision"
    assert refused(desk, "tag:never").code == "unknown-tag"
    assert refused(desk, "mian@1").code == "unknown-label"
    assert refused(desk, "main@{gibberish}").code == "bad-revision"
    assert desk.labels.resolve("main:a/b").path == b"a/b"


def test_times(desk: Desk) -> None:
    s = [desk.snapshot(f"s{day}") for day in range(5)]
    assert found(desk, "main@{now}") == (s[4], "main", 5)
    assert found(desk, "main@{1.hour.ago}") == (s[4], "main", 5)
    assert found(desk, "main@{yesterday}") == (s[3], "main", 4)
    assert found(desk, "main@{3 days ago}") == (s[1], "main", 2)
    born = desk.labels.resolve("main@1").entry
    assert born is not None
    assert found(desk, f"main@{{@{born.at_ms // 1000}}}") == (s[0], "main", 1)
    assert found(desk, "main@{2999-01-01}") == (s[4], "main", 5)
    assert refused(desk, f"main@{{@{born.at_ms // 1000 - 1}}}").code == "unknown-revision"
    assert refused(desk, "main@{2001-01-01}").code == "unknown-revision"


def test_times_without_a_zone_are_local(desk: Desk) -> None:
    moment = "2027-01-17T20:00"  # in UTC half a day after the third entry
    zones = {0: 3, 23: 2, -23: 4}
    for hours, generation in zones.items():
        zone = timezone(timedelta(hours=hours))
        assert desk.labels.resolve(f"main@{{{moment}}}", tz=zone).generation == generation
    for text, generation in (("Z", 3), ("+23:00", 2), ("-2300", 4)):
        assert found(desk, f"main@{{{moment}{text}}}")[2] == generation


def test_a_search_by_time_reads_few_entries() -> None:
    desk = Desk()
    desk.labels.compare_and_set("other", None, desk.snapshot("a"))
    start = desk.clock.now_ms
    for generation in range(1000):
        desk.clock.now_ms = start + generation // 3  # several entries in one ms
        desk.labels.compare_and_set("main", generation, desk.snapshot("ab"[generation % 2]))
    for at in (0, 1, 57, 200, 332):
        desk.clock.now_ms = start + at
        entry = desk.labels.resolve("main@{now}").entry
        assert entry is not None
        assert (entry.at_ms, entry.generation) == (start + at, 3 * at + 3)


def test_ids_and_prefixes(desk: Desk) -> None:
    entry = desk.labels.resolve("main@2").entry
    assert entry is not None
    content = desk.snapshot("s1")
    assert found(desk, entry.id.hex()) == (content, "main", 2)
    assert found(desk, entry.id.hex()[:8]) == (content, "main", 2)
    assert found(desk, entry.id.hex()[:63]) == (content, "main", 2)
    assert found(desk, content.hex()) == (content, None, None)
    assert found(desk, content.hex()[:9]) == (content, None, None)
    assert refused(desk, content.hex()[:7]).code == "unknown-label"
    assert refused(desk, "0" * 64).code == "unknown-revision"
    assert refused(desk, "0" * 8).code == "unknown-revision"


def test_prefixes_match_roots_only_but_a_whole_id_any_page(desk: Desk) -> None:
    inner = desk.snapshot("a page nobody pointed to")
    assert found(desk, inner.hex()) == (inner, None, None)
    assert refused(desk, inner.hex()[:20]).code == "unknown-revision"
    desk.labels.record_detached(inner)
    assert found(desk, inner.hex()[:20]) == (inner, None, None)


def test_one_snapshot_of_many_labels_is_one_match(desk: Desk) -> None:
    content = desk.snapshot("s1")
    for agent in range(50):
        desk.labels.compare_and_set(f"agent/{agent}", None, content)
    desk.labels.record_detached(content)
    assert found(desk, content.hex()[:8]) == (content, None, None)
    other = content[:8] + b"\xff" * 24  # as if another digest began like it
    with desk.store.write() as txn:
        txn.put(SNAPSHOTS, other + bytes(16), number(1))
    error = refused(desk, content.hex()[:8])
    assert {match["id"] for match in error.details["matches"]} == {content.hex(), other.hex()}


def test_ambiguous_prefixes_are_listed(desk: Desk) -> None:
    """Digests that share 8 digits cannot be made to order, so the index rows are."""
    entry = desk.labels.resolve("main@2").entry
    assert entry is not None
    twin = entry.id[:4] + bytes(28)
    with desk.store.write() as txn:
        txn.put(SNAPSHOTS, twin + entry.uid, number(2))
    error = refused(desk, entry.id.hex()[:8])
    assert isinstance(error, AmbiguousError)
    assert error.exit_status == 2
    assert error.details["matches"] == [
        {"kind": "entry", "id": entry.id.hex(), "label": "main", "generation": 2},
        {"kind": "snapshot", "id": twin.hex(), "label": "main", "generation": 2},
    ]
    assert found(desk, entry.id.hex())[2] == 2
    with desk.store.write() as txn:
        for last in range(100):
            txn.put(IDS, b"\xaa" * 31 + bytes([last]), entry_key(entry.uid, 2))
        txn.put(DETACHED, b"\xaa" * 31 + b"\xff", number(0))
    error = refused(desk, "a" * 10)
    assert len(error.details["matches"]) == 20


def test_the_parents_of_what_is_made_from_a_revision(desk: Desk) -> None:
    entry = desk.labels.resolve("main@2")
    assert entry.entry is not None
    assert entry.parents == (entry.entry.id,)
    assert desk.labels.resolve(desk.snapshot("s1").hex()).parents == ()
    assert Resolved(b"x" * 32, None, None, None, None).parents == ()


def test_generations_of_a_name_that_went_elsewhere(desk: Desk) -> None:
    labels = desk.labels
    labels.rename("main", "trunk")  # generation 6, of trunk
    assert found(desk, "trunk@6")[1] == "trunk"
    assert found(desk, "trunk@2") == (desk.snapshot("s1"), "trunk", 2)  # the reflog goes along
    error = refused(desk, "main@2")
    assert (error.exit_status, error.details["renamed_to"]) == (5, "trunk")
    assert "trunk" in error.message
    assert refused(desk, "main").details["renamed_to"] == "trunk"
    labels.compare_and_set("main", None, desk.snapshot("new"))
    assert found(desk, "main@6")[0] == desk.snapshot("new")
    assert refused(desk, "main@2").details["renamed_to"] == "trunk"
    labels.delete("main")
    error = refused(desk, "main@6")
    assert (error.exit_status, error.details["renamed_to"]) == (5, None)
    assert refused(desk, "main").next == "jvs fs label --undelete main"
    labels.undelete("main")
    assert found(desk, "main@6")[0] == desk.snapshot("new")
    assert refused(desk, "main@7").code == "unknown-revision"  # the deletion has no content
    assert refused(desk, "main@{1}").code == "unknown-revision"


def test_entries_of_a_deleted_label_are_still_found(desk: Desk) -> None:
    entry = desk.labels.resolve("main@2").entry
    assert entry is not None
    desk.labels.delete("main")
    assert found(desk, entry.id.hex()) == (desk.snapshot("s1"), None, 2)
    assert found(desk, "tag:day1") == (desk.snapshot("s1"), None, 2)


def test_expectations(desk: Desk) -> None:
    labels = desk.labels
    entries = {entry.generation: entry for entry in labels.log("main")}
    assert labels.resolve_expected("0") is None
    assert labels.resolve_expected("7") == 7
    assert labels.resolve_expected("main") == entries[5].id
    assert labels.resolve_expected("main@{1}") == entries[4].id
    assert labels.resolve_expected("main@2") == entries[2].id
    assert labels.resolve_expected(entries[2].id.hex()[:12]) == entries[2].id
    assert labels.resolve_expected("tag:day1") == entries[2].id
    assert labels.resolve_expected(desk.snapshot("s4").hex()) == desk.snapshot("s4")
    with pytest.raises(UnknownError):
        labels.resolve_expected("mian")
    assert labels.compare_and_set("main", labels.resolve_expected("main"), desk.snapshot("x")).generation == 6
    assert labels.compare_and_set("main", ANYTHING, desk.snapshot("y")).generation == 7


@pytest.mark.parametrize(
    ("text", "revision"),
    [
        ("agent/1", Revision(Named("agent/1"), b"")),
        ("agent/1/", Revision(Named("agent/1"), b"")),
        ("agent/1/dir/f", Revision(Named("agent/1"), b"dir/f")),
        ("agent%2F1/dir/f", Revision(Named("agent/1"), b"dir/f")),
        ("agent%2f1@1/dir", Revision(Generation("agent/1", 1), b"dir")),
        ("agent/1@{0}/dir/f", Revision(Back("agent/1", 0), b"dir/f")),
        ("agent/1@1/a@b", Revision(Generation("agent/1", 1), b"a@b")),
        ("agent/1@{2026/11/20}/f", Revision(At("agent/1", "2026/11/20"), b"f")),
        ("main/agent/1", Revision(Named("main"), b"agent/1")),
        ("main", Revision(Named("main"), b"")),
        ("main@{yesterday}/x:y", Revision(At("main", "yesterday"), b"x:y")),
        (ID + "/a/b", Revision(Named(ID), b"a/b")),
        (ID[:8], Revision(Named(ID[:8]), b"")),
        ("tag:v1/a", Revision(Tagged("v1"), b"a")),
    ],
)
def test_locations(desk: Desk, text: str, revision: Revision) -> None:
    desk.labels.compare_and_set("agent/1", None, desk.snapshot("x"))
    assert desk.labels.split_location(text) == revision


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("agent", "unknown-label"),
        ("agent/2/x", "unknown-label"),
        ("nobody@{1}/x", "unknown-label"),
        ("", "bad-revision"),
        ("/main", "bad-revision"),
        ("main@/x", "bad-revision"),
        ("main@{1", "bad-revision"),
        ("main/../x", "bad-path"),
        ("DEADBEEF/x", "bad-id"),
    ],
)
def test_locations_that_are_none(desk: Desk, text: str, code: str) -> None:
    desk.labels.compare_and_set("agent/1", None, desk.snapshot("x"))
    with pytest.raises(JvsError) as caught:
        desk.labels.split_location(text)
    assert caught.value.code == code
