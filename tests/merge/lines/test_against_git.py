"""The line merge beside git: the same verdict, and the same bytes where both are clean."""

from __future__ import annotations

import os
import re
from collections import Counter

import pytest

from devtools.merge_corpus import CORPORA, Triple, compare, git_can_merge, git_verdicts, merge_with_jvs, triple, triples

pytestmark = pytest.mark.skipif(not git_can_merge(), reason="needs git 2.38 or later (merge-tree --write-tree)")

COUNT = 9_000 if os.environ.get("JVS_TORTURE") == "1" else 630
BATCH = 450


def test_merges_as_git_does() -> None:
    """Every disagreement is a failure, though the contract allows one in a thousand: none is known."""
    cases = triples(COUNT)
    assert {case.name.rsplit("-", 2)[0] for case in cases} == set(CORPORA)
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    clean = 0
    for start in range(0, COUNT, BATCH):
        batch = cases[start : start + BATCH]
        for case, verdict in zip(batch, git_verdicts(batch), strict=True):
            outcome = compare(case, verdict)
            outcomes[outcome] += 1
            clean += verdict.clean
            if outcome not in ("same", "other markers"):
                wrong.append(f"{case.name}: {outcome}")
    assert not wrong
    assert outcomes["same"] > 0.9 * COUNT
    assert 0.3 * COUNT < clean < 0.8 * COUNT, "a corpus where all merges are alike shows little"


def test_rare_paths_merge_as_git_does() -> None:
    """Triples that were found to tell when a limit of the search is another than git's."""
    cases = [triple(name) for name in ("few-kinds-11-127", "common-11-789", "common-11-29", "common-11-143")]
    for case, verdict in zip(cases, git_verdicts(cases), strict=True):
        assert compare(case, verdict) == "same", case.name


def test_diff3_has_gits_bytes() -> None:
    """The same text between the same markers; git calls the base by its commit."""
    cases = [case for case in triples(270, seed=1) if not re.search(rb"^={7,}", b"\n".join(case[1:]), re.MULTILINE)]
    for case, verdict in zip(cases, git_verdicts(cases, style="diff3"), strict=True):
        mine = merge_with_jvs(case, "diff3")
        assert verdict.clean == (not mine.conflicts), case.name
        assert mine.data == re.sub(rb"^\|{7} [0-9a-f]+(?=\r?$)", b"||||||| base", verdict.data, flags=re.M), case.name


EDGES = {
    "empty base": (b"", b"a\n", b"b\n"),
    "emptied on one side": (b"a\n", b"", b"a\nb\n"),
    "emptied on both": (b"a\nb\n", b"", b"\n"),
    "no last LF anywhere": (b"a\nb", b"a\nB", b"A\nb"),
    "one side drops the last LF": (b"a\nb\nc\n", b"a\nb\nc", b"A\nb\nc\n"),
    "one side adds the last LF": (b"a\nb\nc", b"a\nb\nc\n", b"A\nb\nc"),
    "both change the last line, one drops its LF": (b"a\nb\n", b"a\nx", b"a\ny\n"),
    "neighbouring lines": (b"a\nb\nc\n", b"A\nb\nc\n", b"a\nB\nc\n"),
    "a line between": (b"a\nb\nc\n", b"A\nb\nc\n", b"a\nb\nC\n"),
    "put in at the same place": (b"a\nb\n", b"a\nx\nb\n", b"a\ny\nb\n"),
    "the same put in": (b"a\nb\n", b"a\nx\nb\n", b"a\nx\nb\n"),
    "the same and more": (b"a\nb\n", b"a\nx\nb\n", b"a\nx\ny\nb\n"),
    "one deletes what the other edits": (b"a\nb\nc\n", b"a\nc\n", b"a\nB\nc\n"),
    "conflicts three lines apart": (b"1\n2\n3\n4\n5\n", b"x\n2\n3\n4\nx\n", b"y\n2\n3\n4\ny\n"),
    "conflicts four lines apart": (b"1\n2\n3\n4\n5\n6\n", b"x\n2\n3\n4\n5\nx\n", b"y\n2\n3\n4\n5\ny\n"),
    "CRLF": (b"a\r\nb\r\n", b"a\r\nx\r\n", b"a\r\ny\r\n"),
    "CRLF, no last line end": (b"a\r\nb", b"a\r\nx", b"a\r\ny"),
    "CRLF against LF": (b"a\r\nb\r\n", b"a\nx\n", b"a\r\ny\r\n"),
    "CRLF without a base": (b"", b"a\r\n", b"b\r\n"),
    "one line without end": (b"a", b"b", b"c"),
    "CR alone": (b"a\rb\rc", b"a\rB\rc", b"A\rb\rc"),
}


def test_edges_have_gits_bytes() -> None:
    cases = [Triple(name, *sides) for name, sides in EDGES.items()]
    for case, verdict in zip(cases, git_verdicts(cases), strict=True):
        mine = merge_with_jvs(case)
        assert (not mine.conflicts, mine.data) == (verdict.clean, verdict.data), case.name
