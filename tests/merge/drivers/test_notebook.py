"""Notebooks by cell: sources by lines, outputs by their rule, and always a notebook."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jvs.merge.content import Contents, Merged, Options, Region
from jvs.merge.drivers.giveup import GiveUp
from jvs.merge.drivers.json_text import read_value
from jvs.merge.drivers.notebook import check_notebook
from jvs.merge.drivers.notebook_driver import NotebookDriver
from tests.merge.drivers.support import NONE, OURS, THEIRS, UNHURRIED, clean, merge, regions, swapped

IPYNB = NotebookDriver()
Notebook = dict[str, Any]
Edit = Callable[[Notebook], object]


def code(name: str, *lines: str, count: int | None = None, out: str = "") -> Notebook:
    outputs = [{"name": "stdout", "output_type": "stream", "text": [out]}] if out else []
    source = [line + "\n" for line in lines[:-1]] + list(lines[-1:])
    return {
        "cell_type": "code",
        "execution_count": count,
        "id": name,
        "metadata": {},
        "outputs": outputs,
        "source": source,
    }


def prose(name: str, *lines: str) -> Notebook:
    return {
        "cell_type": "markdown",
        "id": name,
        "metadata": {},
        "source": [line + "\n" for line in lines[:-1]] + list(lines[-1:]),
    }


def notebook(*cells: Notebook, minor: int = 5) -> Notebook:
    cells = copy.deepcopy(cells)
    if minor < 5:
        for cell in cells:
            cell.pop("id", None)
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return {"cells": list(cells), "metadata": kernel, "nbformat": 4, "nbformat_minor": minor}


def text(value: Any) -> bytes:
    """As Jupyter writes it."""
    return json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True).encode() + b"\n"


BASE = notebook(
    prose("intro", "# Title", "", "Some words."),
    code("load", "import os", "", "x = 1", "y = 2", "print(x)", count=1, out="1\n"),
    code("plot", "plot(x)", count=2, out="<plot>"),
    prose("end", "That is all."),
)


def edited(*edits: Edit, base: Notebook = BASE) -> Notebook:
    value = copy.deepcopy(base)
    for edit in edits:
        edit(value)
    return value


def source(cell: int, line: int, new: str) -> Edit:
    return lambda value: value["cells"][cell]["source"].__setitem__(line, new)


def ran(cell: int, count: int, out: str) -> Edit:
    def edit(value: Notebook) -> None:
        value["cells"][cell]["execution_count"] = count
        value["cells"][cell]["outputs"] = code("x", "x", out=out)["outputs"]

    return edit


def insert(at: int, cell: Notebook) -> Edit:
    return lambda value: value["cells"].insert(at, copy.deepcopy(cell))


def delete(at: int) -> Edit:
    return lambda value: value["cells"].pop(at)


def put(*path: Any) -> Edit:
    *way, key, new = path

    def edit(value: Notebook) -> None:
        inner: Any = value
        for step in way:
            inner = inner[step]
        inner[key] = new

    return edit


def becomes(at: int, cell: Notebook) -> Edit:
    return lambda value: value["cells"].__setitem__(at, cell)


# (ours, theirs, merged): edits of BASE
CLEAN: dict[str, tuple[list[Edit], list[Edit], list[Edit]]] = {
    "two lines of a cell": (
        [source(1, 0, "import sys\n")],
        [source(1, 4, "print(y)")],
        [source(1, 0, "import sys\n"), source(1, 4, "print(y)")],
    ),
    "a line below the last": (
        [source(1, 0, "import sys\n")],
        [lambda v: v["cells"][1].update(source=[*v["cells"][1]["source"][:-1], "print(x)\n", "z"])],
        [
            source(1, 0, "import sys\n"),
            lambda v: v["cells"][1].update(source=[*v["cells"][1]["source"][:-1], "print(x)\n", "z"]),
        ],
    ),
    "cells come": (
        [insert(1, code("new1", "a"))],
        [insert(3, code("new2", "b"))],
        [insert(1, code("new1", "a")), insert(4, code("new2", "b"))],
    ),
    "the same cell comes": (
        [insert(1, code("n", "a"))],
        [insert(1, code("n", "a")), delete(0)],
        [insert(1, code("n", "a")), delete(0)],
    ),
    "one comes, one goes": ([insert(1, code("new", "a"))], [delete(3)], [delete(3), insert(1, code("new", "a"))]),
    "a cell moves and changes": (
        [lambda v: v["cells"].insert(0, v["cells"].pop(3))],
        [source(3, 0, "The end.")],
        [source(3, 0, "The end."), lambda v: v["cells"].insert(0, v["cells"].pop(3))],
    ),
    "only one side ran it": (
        [ran(2, 7, "<new>")],
        [source(2, 0, "plot(x, y)")],
        [source(2, 0, "plot(x, y)"), ran(2, 7, "<new>")],
    ),
    "both ran it": (
        [ran(2, 7, "<7>")],
        [ran(2, 8, "<8>")],
        [put("cells", 2, "execution_count", None), put("cells", 2, "outputs", [])],
    ),
    "both ran it, with the same output": (
        [ran(2, 7, "<7>")],
        [ran(2, 8, "<7>")],
        [ran(2, 0, "<7>"), put("cells", 2, "execution_count", None)],
    ),
    "times of running": (
        [put("cells", 1, "metadata", {"execution": {"iopub.status.idle": "1"}})],
        [put("cells", 1, "metadata", {"execution": {"iopub.status.idle": "2"}})],
        [put("cells", 1, "metadata", {"execution": {}})],
    ),
    "both upgrade": ([put("nbformat_minor", 6)], [put("nbformat_minor", 7)], [put("nbformat_minor", 7)]),
    "metadata by key": (
        [put("metadata", "kernelspec", "name", "conda")],
        [put("metadata", "kernelspec", "display_name", "Python")],
        [put("metadata", "kernelspec", "name", "conda"), put("metadata", "kernelspec", "display_name", "Python")],
    ),
    "tags": (
        [put("cells", 0, "metadata", {"tags": ["a"]})],
        [put("cells", 1, "metadata", {"tags": ["b"]})],
        [put("cells", 0, "metadata", {"tags": ["a"]}), put("cells", 1, "metadata", {"tags": ["b"]})],
    ),
    "a cell becomes prose, the other side ran it": (
        [becomes(2, prose("plot", "plot(x)"))],
        [ran(2, 9, "<9>")],
        [becomes(2, prose("plot", "plot(x)"))],
    ),
}

# (ours, theirs, the places, what each side has there)
CONFLICTS: dict[str, tuple[list[Edit], list[Edit], list[tuple[str, str, str]]]] = {
    "a line": (
        [source(1, 2, "x = 5\n"), source(0, 0, "# New\n")],
        [source(1, 2, "x = 6\n")],
        [("cell load/source, line 3", "x = 5\n", "x = 6\n")],
    ),
    "deleted and changed": (
        [delete(3)],
        [source(3, 0, "Ende.")],
        [("cell end", "", text(prose("end", "Ende.")).decode())],
    ),
    "a cell of the same id": (
        [insert(1, code("n", "a"))],
        [insert(1, code("n", "b"))],
        [("cell n/source, line 1", "a\n", "b\n")],
    ),
    "cells at the same place": (
        [insert(4, code("n", "a"))],
        [insert(4, code("m", "b"))],
        [("/cells [4:5]", text(code("n", "a")).decode(), text(code("m", "b")).decode())],
    ),
    "metadata": (
        [put("metadata", "kernelspec", "name", "a")],
        [put("metadata", "kernelspec", "name", "b")],
        [("/metadata/kernelspec/name", '"a"', '"b"')],
    ),
}


@pytest.mark.parametrize("case", CLEAN)
def test_clean(case: str) -> None:
    ours, theirs, merged = CLEAN[case]
    assert clean(IPYNB, text(BASE), text(edited(*ours)), text(edited(*theirs))) == text(edited(*merged))


@pytest.mark.parametrize("case", CONFLICTS)
def test_conflicts(case: str) -> None:
    our_edits, their_edits, expected = CONFLICTS[case]
    sides = text(BASE), text(edited(*our_edits)), text(edited(*their_edits))
    merged = merge(IPYNB, *sides)
    shown = [(region.where, squeezed(region.ours), squeezed(region.theirs)) for region in regions(merged)]
    assert shown == [(where, squeezed(ours.encode()), squeezed(theirs.encode())) for where, ours, theirs in expected]
    assert merged is not None
    assert not merged.markers
    for options in (NONE, OURS, THEIRS):
        result = merge(IPYNB, *sides, options)
        assert result is not None
        check(result)
        assert result.settled == (() if options is NONE else merged.conflicts)
    assert text(json.loads(merged.data)) == merged.data, "written as Jupyter writes it"


def squeezed(data: bytes) -> str:
    return "".join(data.decode().split())


def check(merged: Merged) -> None:
    check_notebook(read_value(merged.data.decode()))


def test_a_conflict_leaves_ours_in_its_place_and_the_rest_merged() -> None:
    ours = edited(source(1, 2, "x = 5\n"), source(0, 0, "# Ours\n"))
    theirs = edited(source(1, 2, "x = 6\n"), source(3, 0, "Theirs."))
    sides = text(BASE), text(ours), text(theirs)
    merged, preferred = merge(IPYNB, *sides), merge(IPYNB, *sides, THEIRS)
    assert merged is not None
    assert preferred is not None
    assert merged.data == text(edited(source(3, 0, "Theirs."), base=ours))
    assert preferred.data == text(edited(source(0, 0, "# Ours\n"), base=theirs))


def test_a_cell_of_two_new_kinds_is_one_conflict() -> None:
    """The kind of one with the members of the other would be no cell."""
    raw = {"cell_type": "raw", "id": "end", "metadata": {}, "source": ["That is all."]}
    ours, theirs = edited(becomes(3, code("end", "That is all."))), edited(becomes(3, raw))
    sides = text(BASE), text(ours), text(theirs)
    assert [region.where for region in regions(merge(IPYNB, *sides))] == ["cell end"]
    settled = merge(IPYNB, *sides, THEIRS)
    assert settled is not None
    assert settled.data == sides[2]


def test_parts_that_make_no_notebook_are_one_conflict() -> None:
    """Ours makes a cell code, theirs gives it attachments, which code cannot have."""
    ours = edited(becomes(3, code("end", "That is all.")))
    theirs = edited(put("cells", 3, "attachments", {"a.png": {}}))
    sides = text(BASE), text(ours), text(theirs)
    region = Region("the notebook", *sides)
    assert merge(IPYNB, *sides) == Merged(sides[1], (region,), (), "ipynb")
    assert merge(IPYNB, *sides, THEIRS) == Merged(sides[2], (), (region,), "ipynb")


def test_an_upgrade_on_one_side_and_a_cell_without_id_on_the_other_are_a_conflict() -> None:
    old = notebook(code("a", "a"), minor=4)
    upgraded = notebook(code("a", "a"))
    longer = notebook(code("a", "a"), code("b", "b"), minor=4)
    merged = merge(IPYNB, text(old), text(upgraded), text(longer))
    assert [region.where for region in regions(merged)] == ["the notebook"]
    assert merged is not None
    check(merged)


def test_an_upgrade_on_one_side_keeps_the_changes_of_the_other() -> None:
    old = notebook(code("a", "one", "two", "three"), code("b", "b"), minor=4)
    upgraded = notebook(code("a", "one", "two", "three"), code("b", "b"))
    changed = edited(source(0, 1, "2\n"), base=old)
    assert clean(IPYNB, text(old), text(upgraded), text(changed)) == text(edited(source(0, 1, "2\n"), base=upgraded))


def test_a_line_below_the_last_does_not_change_the_last() -> None:
    base, ours, theirs, both = (
        text(notebook(code("a", *lines))) for lines in (("a", "b"), ("A", "b"), ("a", "b", "c"), ("A", "b", "c"))
    )
    assert clean(IPYNB, base, ours, theirs) == both


def test_both_upgrade_and_give_a_cell_other_ids() -> None:
    old = notebook(code("a", "a"), minor=4)
    one, two = notebook(code("one", "a")), notebook(code("two", "a"))
    assert clean(IPYNB, text(old), text(one), text(two)) == text(one)


def test_no_tag_occurs_twice() -> None:
    base, ours, theirs = (
        text(edited(put("cells", 0, "metadata", {"tags": tags}))) for tags in (list("abc"), list("xabc"), list("abcx"))
    )
    assert [region.where for region in regions(merge(IPYNB, base, ours, theirs))] == ["cell intro/metadata/tags"]


def test_of_two_similar_cells_the_first_is_the_one_that_stays() -> None:
    def cells(*sources: list[str]) -> bytes:
        middle = [code("", *source) for source in sources]
        return text(notebook(prose("", "start"), *middle, prose("", "end"), minor=4))

    second = ["x = 2", "y", "z"]
    base = cells(["x = 1", "y", "z"], second)
    ours, theirs = cells(["x = 9", "y", "z"]), cells(["x = 1", "y", "z()"], second)
    assert clean(IPYNB, base, ours, theirs) == cells(["x = 9", "y", "z()"])


@pytest.mark.parametrize("case", CLEAN)
def test_cells_without_ids_are_known_by_what_is_in_them(case: str) -> None:
    def without(value: Notebook) -> bytes:
        minor = value["nbformat_minor"] - 1
        return text(
            {**notebook(*value["cells"], minor=min(minor, 4)), "metadata": value["metadata"], "nbformat_minor": minor}
        )

    ours, theirs, merged = CLEAN[case]
    if "upgrade" in case or "prose" in case or "moves" in case:
        return  # the first is about ids, the others change what a cell is known by
    sides = without(BASE), without(edited(*ours)), without(edited(*theirs))
    assert clean(IPYNB, *sides) == without(edited(*merged))


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"{",
        b"[]",
        b'{"cells": []}',
        text({**BASE, "nbformat": 3}),
        text({**BASE, "nbformat": 4.0}),
        text({**BASE, "nbformat_minor": "5"}),
        text({**BASE, "metadata": []}),
        text({**BASE, "cells": {}}),
        text({**BASE, "cells": [1]}),
        text(notebook({**prose("a"), "cell_type": "prose"})),
        text(notebook({**prose("a"), "outputs": []})),
        text(notebook({**prose("a"), "source": [1]})),
        text(notebook({**prose("a"), "source": None})),
        text(notebook({**prose("a"), "metadata": None})),
        text(notebook({**prose("a"), "attachments": 1})),
        text(notebook({**prose("a"), "id": "a b"})),
        text(notebook({**prose("a"), "id": 1})),
        text(notebook(prose("a"), prose("a"))),
        text(notebook({**code("a"), "execution_count": "1"})),
        text(notebook({**code("a"), "outputs": [1]})),
        text(edited(lambda v: v["cells"][0].pop("id"))),
        text(edited(lambda v: v["cells"][1].pop("outputs"))),
        b"\xef\xbb\xbf" + text(BASE)[:-3],
        text(BASE).decode().encode("utf-16"),
        text(BASE).replace(b'"cells"', b'"cells": [], "cells"', 1),
    ],
)
def test_what_is_no_notebook_is_given_up(broken: bytes) -> None:
    whole = text(BASE), text(edited(delete(0))), text(edited(delete(1)))
    for side in range(3):
        sides = list(whole)
        sides[side] = broken
        with pytest.raises(GiveUp):
            IPYNB.merge(b"a.ipynb", Contents(*sides), Options())


def test_a_source_may_be_one_text() -> None:
    one = edited(put("cells", 1, "source", "a\n\nb\n\nc"))
    ours, theirs = (
        edited(put("cells", 1, "source", "A\n\nb\n\nc")),
        edited(put("cells", 1, "source", ["a\n", "\n", "b\n", "\n", "C"])),
    )
    both = edited(put("cells", 1, "source", ["A\n", "\n", "b\n", "\n", "C"]))
    assert json.loads(clean(IPYNB, text(one), text(ours), text(theirs))) == both
    text_too = edited(put("cells", 1, "source", "a\n\nb\n\nC"))
    assert json.loads(clean(IPYNB, text(one), text(ours), text(text_too))) == edited(
        put("cells", 1, "source", "A\n\nb\n\nC")
    )


def test_half_a_character_in_a_source_is_given_up() -> None:
    sides = [json.dumps(edited(put("cells", 0, "source", half))).encode() for half in ("\ud800", "\ud801", "\ud802")]
    with pytest.raises(GiveUp, match="half a character"):
        IPYNB.merge(b"a.ipynb", Contents(*sides), Options())


def test_without_a_base_every_difference_is_a_conflict() -> None:
    merged = IPYNB.merge(b"a.ipynb", Contents(None, text(BASE), text(edited(delete(0)))), NONE)
    assert [region.where for region in regions(merged)] == ["/cells"]


def test_what_suits() -> None:
    sides = Contents(b"", b"", b"")
    assert [IPYNB.suits(path, sides) for path in (b"a.ipynb", b"d/A.IPYNB", b"a.json", b"ipynb")] == [
        True,
        True,
        False,
        False,
    ]


LINES = st.lists(st.sampled_from(["a", "b", "c = 1", "", "é", "print(x)", "d", "e"]), max_size=6)
CELLS = st.builds(
    lambda is_code, lines, count, out: code("", *lines, count=count, out=out) if is_code else prose("", *lines),
    st.booleans(),
    LINES,
    st.none() | st.integers(1, 3),
    st.sampled_from(["", "1", "2"]),
)


@st.composite
def cells_changed(draw: st.DrawFn, cells: list[Notebook]) -> list[Notebook]:
    result = []
    for cell in cells:
        choice = draw(st.integers(0, 9))
        if choice == 0:
            continue
        new = copy.deepcopy(cell)
        if choice in (1, 2):
            new["source"] = draw(CELLS)["source"]
        if choice == 3 and new["source"]:
            new["source"][draw(st.integers(0, len(new["source"]) - 1))] = draw(st.sampled_from(["x\n", "y\n"]))
        if choice == 4 and new["cell_type"] == "code":
            new.update(
                execution_count=draw(st.integers(1, 9)), outputs=draw(CELLS.filter(lambda c: "outputs" in c))["outputs"]
            )
        if choice == 5:
            new["metadata"] = {"tags": draw(st.lists(st.sampled_from("abc"), unique=True))}
        if choice == 6:
            new = {**draw(CELLS), "id": new["id"]}
        result.append(new)
    if draw(st.integers(0, 2)) == 0:
        result.insert(draw(st.integers(0, len(result))), {**draw(CELLS), "id": draw(st.sampled_from(["new", "newer"]))})
    if len(result) > 1 and draw(st.integers(0, 9)) == 0:
        result.append(result.pop(0))
    return result


@st.composite
def triples(draw: st.DrawFn) -> tuple[bytes, bytes, bytes]:
    base = [{**cell, "id": f"c{number}"} for number, cell in enumerate(draw(st.lists(CELLS, max_size=5)))]
    minor = draw(st.sampled_from([5, 5, 4]))
    sides = [base, draw(cells_changed(base)), draw(cells_changed(base))]
    return tuple(text(notebook(*side, minor=minor)) for side in sides)  # type: ignore[return-value]


@UNHURRIED
@given(triples(), st.sampled_from([NONE, OURS, THEIRS]))
def test_the_result_is_always_a_notebook(sides: tuple[bytes, bytes, bytes], options: Options) -> None:
    merged = merge(IPYNB, *sides, options)
    assert merged is not None
    check(merged)
    if options is not NONE:
        assert merged.conflicts == ()


@UNHURRIED
@given(triples())
def test_swapping_the_sides_changes_nothing(sides: tuple[bytes, bytes, bytes]) -> None:
    base, ours, theirs = sides
    one, two = merge(IPYNB, base, ours, theirs), merge(IPYNB, base, theirs, ours)
    assert one is not None
    assert two is not None
    assert sorted((r.base, r.ours, r.theirs) for r in one.conflicts) == swapped(two.conflicts)
    if not one.conflicts:
        assert one.data == two.data
    mine, other = merge(IPYNB, base, ours, theirs, OURS), merge(IPYNB, base, theirs, ours, THEIRS)
    assert mine is not None
    assert other is not None
    assert json.loads(mine.data) == json.loads(other.data)


@UNHURRIED
@given(triples())
def test_a_side_without_a_change_gives_the_other(sides: tuple[bytes, bytes, bytes]) -> None:
    base, ours, _ = sides
    for triple in ((base, ours, base), (base, base, ours), (base, ours, ours)):
        merged = merge(IPYNB, *triple)
        assert merged is not None
        assert (merged.data, merged.conflicts) == (ours, ())


@UNHURRIED
@given(triples())
def test_no_line_is_lost_or_made_up(sides: tuple[bytes, bytes, bytes]) -> None:
    """A line that all sides have in the same cell stays, and none comes from nowhere."""
    merged = merge(IPYNB, *sides)
    assert merged is not None
    base, ours, theirs, result = (by_id(data) for data in (*sides, merged.data))
    for name, lines in result.items():
        assert lines <= base.get(name, set()) | ours.get(name, set()) | theirs.get(name, set())
        if name in base and name in ours and name in theirs:
            assert lines >= base[name] & ours[name] & theirs[name]


def by_id(data: bytes) -> dict[str, set[str]]:
    cells = json.loads(data)["cells"]
    return {cell["id"]: set("".join(cell["source"]).split("\n")) for cell in cells if "id" in cell}


def test_bytes_changed_at_random_never_fail() -> None:
    rng = random.Random(4)
    base = text(BASE)
    read = 0
    for _ in range(500):
        sides = [bytearray(base), bytearray(base), bytearray(base)]
        for side in sides[1:]:
            for _ in range(rng.randint(1, 3)):
                at = rng.randrange(len(side))
                if rng.random() < 0.9:  # in a word of a source or of an output
                    at = base.index(rng.choice([b"Some words", b"That is all", b"import os", b"<plot>", b"print"])) + 2
                letter = rng.random() < 0.9
                side[at] = rng.choice(b"abcdef0123") if letter else rng.choice(b'"\\{}[],: \n\xff')
        merged = merge(IPYNB, bytes(sides[0]), bytes(sides[1]), bytes(sides[2]))
        if merged is not None:
            read += 1
            check(merged)
    assert read > 100


def test_nbformat_finds_the_results_valid() -> None:
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed; our own check stands in for it")
    for ours, theirs, _ in [*CLEAN.values(), *CONFLICTS.values()]:
        merged = merge(IPYNB, text(BASE), text(edited(*ours)), text(edited(*theirs)))
        assert merged is not None
        nbformat.validate(json.loads(merged.data))
