"""JSON by key: values merge as values do, and the text stays as people wrote it."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jvs.merge.content import Contents, Options
from jvs.merge.drivers.giveup import GiveUp
from jvs.merge.drivers.json_driver import JsonDriver
from jvs.merge.drivers.json_text import MAX_DEPTH, Document, read_value
from tests.merge.drivers.support import OURS, THEIRS, UNHURRIED, clean, merge, regions, swapped

JSON = JsonDriver()

# (base, ours, theirs, merged)
CLEAN = {
    "two keys": ('{"a": 1, "b": 2}', '{"a": 3, "b": 2}', '{"a": 1, "b": 4}', '{"a": 3, "b": 4}'),
    "neighbours on lines": (
        '{\n  "a": 1,\n  "b": 2\n}\n',
        '{\n  "a": 3,\n  "b": 2\n}\n',
        '{\n  "a": 1,\n  "b": 4\n}\n',
        '{\n  "a": 3,\n  "b": 4\n}\n',
    ),
    "both append": (
        '{\n  "m": 1\n}\n',
        '{\n  "m": 1,\n  "z": 2\n}\n',
        '{\n  "m": 1,\n  "n": 3\n}\n',
        '{\n  "m": 1,\n  "n": 3,\n  "z": 2\n}\n',
    ),
    "sorted stays sorted": ('{"b":1,"y":2}', '{"b":1,"x":3,"y":2}', '{"b":1,"c":4,"y":2}', '{"b":1,"c":4,"x":3,"y":2}'),
    "order of the inserting side": ('{"z":1,"a":2}', '{"z":1,"k":3,"a":2}', '{"z":1,"a":5}', '{"z":1,"k":3,"a":5}'),
    "the first is deleted": ('{"a":1, "b":2, "c":3}', '{"b":2, "c":3}', '{"a":1, "b":2, "c":4}', '{"b":2, "c":4}'),
    "both delete the same": ('{"a":1,"b":2,"c":3}', '{"b":2,"c":0}', '{"b":9,"c":3}', '{"b":9,"c":0}'),
    "all are deleted": ('{"a":1,"b":2}', '{"a":1}', '{"b":2}', "{}"),
    "into nothing": ('{"x":{}}', '{"x":{"a": 1}}', '{"x":{"b": 2}}', '{"x":{"a": 1, "b": 2}}'),
    "one side indents anew": (
        '{"a":1,"b":{"c":2}}',
        '{\n\t"a": 1,\n\t"b": {\n\t\t"c": 2\n\t}\n}\n',
        '{"a":1,"b":{"c":3}}',
        '{\n\t"a": 1,\n\t"b": {\n\t\t"c": 3\n\t}\n}\n',
    ),
    "one side moves a key": (
        '{"a":1,"b":2,"c":3}',
        '{"c":3,"a":1,"b":2}',
        '{"a":1,"b":5,"c":3}',
        '{"c":3,"a":1,"b":5}',
    ),
    "carriage returns": (
        '{\r\n"a":1,\r\n"b":2}',
        '{\r\n"a":3,\r\n"b":2}',
        '{\r\n"a":1,\r\n"b":4}',
        '{\r\n"a":3,\r\n"b":4}',
    ),
    "a mark in front": ('\ufeff{"a":1,"b":2}', '\ufeff{"a":3,"b":2}', '\ufeff{"a":1,"b":4}', '\ufeff{"a":3,"b":4}'),
    "both make the same change": (
        '{"a":1,"b":2,"c":0}',
        '{"a":7,"b":3,"c":0}',
        '{"a":7,"b":2,"c":1}',
        '{"a":7,"b":3,"c":1}',
    ),
    "numbers keep their digits": (
        '{"a":1.10,"b":1e400}',
        '{"a":1.10,"b":123456789012345678901234567890}',
        '{"a":2.50,"b":1e400}',
        '{"a":2.50,"b":123456789012345678901234567890}',
    ),
    "escapes are kept": (
        r'{"\u0061":"\/","b":1}',
        r'{"\u0061":"\/","b":2}',
        r'{"\u0061":"\t","b":1}',
        r'{"\u0061":"\t","b":2}',
    ),
    "sorted stays sorted at one place": (
        '{"a":1}',
        '{"a":1,"b":2,"e":3}',
        '{"a":1,"c":4}',
        '{"a":1,"b":2,"c":4,"e":3}',
    ),
    "the same, written differently": ('{"a":"x"}', r'{"a":"\u00e9"}', '{"a":"é"}', '{"a":"é"}'),
    "elements apart": ("[1,2,3,4,5]", "[0,2,3,4,5]", "[1,2,3,4,6]", "[0,2,3,4,6]"),
    "elements in and out": ("[1, 2, 3, 4]", "[1, 9, 2, 3, 4]", "[1, 2, 3]", "[1, 9, 2, 3]"),
    "inside one element": ('[{"x":1,"y":2}]', '[{"x":5,"y":2}]', '[{"x":1,"y":6}]', '[{"x":5,"y":6}]'),
    "elements with an id": (
        '[{"id":1,"v":1},{"id":2,"v":2}]',
        '[{"id":1,"v":9},{"id":2,"v":2}]',
        '[{"id":1,"v":1},{"id":2,"v":8}]',
        '[{"id":1,"v":9},{"id":2,"v":8}]',
    ),
    "elements with an id, moved and changed": (
        '[{"id":"a","v":1},{"id":"b","v":2},{"id":"c","v":3}]',
        '[{"id":"c","v":3},{"id":"a","v":1},{"id":"b","v":2}]',
        '[{"id":"a","v":1},{"id":"b","v":7}]',
        '[{"id":"a","v":1},{"id":"b","v":7}]',
    ),
    "elements with a name": (
        '[{"name":"a","v":1},{"name":"b","v":2}]',
        '[{"name":"n","v":0},{"name":"a","v":1},{"name":"b","v":2}]',
        '[{"name":"a","v":1},{"name":"b","v":2},{"name":"z","v":9}]',
        '[{"name":"n","v":0},{"name":"a","v":1},{"name":"b","v":2},{"name":"z","v":9}]',
    ),
    "no base but the same values": (None, '{"a": 1, "b": [2]}', '{"b":[2],"a":1}', '{"b":[2],"a":1}'),
}

# (base, ours, theirs, (pointer, base, ours, theirs) of each conflict, with ours in place, with theirs)
CONFLICTS = {
    "one value": (
        '{"a":1,"b":2,"c":3}',
        '{"a":4,"b":2,"c":0}',
        '{"a":5,"b":7,"c":3}',
        [("/a", "1", "4", "5")],
        '{"a":4,"b":7,"c":0}',
        '{"a":5,"b":7,"c":0}',
    ),
    "both add a key": ('{}', '{"a/~":1}', '{"a/~":2}', [("/a~1~0", "", "1", "2")], '{"a/~":1}', '{"a/~":2}'),
    "deleted and changed": ('{"a":{"b":1},"c":1}', '{"c":2}', '{"a":{"b":2},"c":1}', [("/a", '{"b":1}', "", '{"b":2}')],
                            '{"c":2}', '{"a":{"b":2},"c":2}'),
    "one element": ('{"a":[1,2]}', '{"a":[1,3]}', '{"a":[1,4]}', [("/a/1", "2", "3", "4")],
                    '{"a":[1,3]}', '{"a":[1,4]}'),
    "one element of other kinds": ('[1,{}]', '[1,2]', '[1,[3]]', [("/1", "{}", "2", "[3]")], '[1,2]', '[1,[3]]'),
    "kinds": ('{"a":1}', '{"a":[1]}', '{"a":{"x":1}}', [("/a", "1", "[1]", '{"x":1}')], '{"a":[1]}', '{"a":{"x":1}}'),
    "true is not 1": ('{"a":0}', '{"a":1}', '{"a":true}', [("/a", "0", "1", "true")], '{"a":1}', '{"a":true}'),
    "1.0 is not 1": ('{"a":0}', '{"a":1}', '{"a":1.0}', [("/a", "0", "1", "1.0")], '{"a":1}', '{"a":1.0}'),
    "both append an element": ("[1]", "[1,2]", "[1,3,4]", [("(root) [1:2]", "", "2", "3, 4")], "[1,2]", "[1,3,4]"),
    "neighbouring elements": ('{"p":[1,2]}', '{"p":[0,2]}', '{"p":[1,9]}',
                              [("/p [0:2]", "1, 2", "0, 2", "1, 9")], '{"p":[0,2]}', '{"p":[1,9]}'),
    "both append one with an id": (
        '[{"id":1}]',
        '[{"id":1},{"id":2}]',
        '[{"id":1},{"id":3}]',
        [("(root) [1:2]", "", '{"id":2}', '{"id":3}')],
        '[{"id":1},{"id":2}]',
        '[{"id":1},{"id":3}]',
    ),
    "both reorder": (
        '{"x":[{"id":1},{"id":2},{"id":3}]}',
        '{"x":[{"id":2},{"id":1},{"id":3}]}',
        '{"x":[{"id":1},{"id":3},{"id":2}]}',
        [("/x", '[{"id":1},{"id":2},{"id":3}]', '[{"id":2},{"id":1},{"id":3}]', '[{"id":1},{"id":3},{"id":2}]')],
        '{"x":[{"id":2},{"id":1},{"id":3}]}',
        '{"x":[{"id":1},{"id":3},{"id":2}]}',
    ),
    "the whole": ("1", "2", "3", [("(root)", "1", "2", "3")], "2", "3"),
    "no base, other keys": (None, '{"a":1,"b":1}', '{"a":1,"c":1}', [("/b", "", "1", ""), ("/c", "", "", "1")],
                            '{"a":1,"b":1}', '{"a":1,"c":1}'),
    "no base, other elements": (None, "[1]", "[2]", [("(root)", "", "[1]", "[2]")], "[1]", "[2]"),
}  # fmt: skip

UNREADABLE = {
    "not JSON": b'{"a": 1,}',
    "a comment": b'{"a": 1} // x',
    "single quotes": b"{'a': 1}",
    "a key twice": b'{"a": 1, "a": 2}',
    "a key twice, escaped": b'{"a": 1, "\\u0061": 2}',
    "a key twice, deep": b'{"x": [{"a": 1, "a": 1}]}',
    "not a number": b'{"a": NaN}',
    "infinity": b'{"a": -Infinity}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "UTF-8 with a hole": b'{"a": "\xff"}',
    "a raw tab in a string": b'{"a": "\t"}',
    "an open string": b'{"a": "',
    "too deep": b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
    "far too deep": b"[" * 200_000,
    "closed too often": b"{}]",
    "closed by the other": b"[}",
    "two values": b'{"a":1}\n{"a":2}',
    "nothing": b"",
    "space": b" \n",
    "a zero byte": b'{"a": 1}\0',
    "a space that JSON does not know": '{"a":\u00a01}'.encode(),
    "conflict markers": b'{\n<<<<<<< ours\n"a": 1\n=======\n"a": 2\n>>>>>>> theirs\n}',
    "open strings, which must not take quadratic time": b"[" + b'"\\' * 500_000,
    "too many values": b"[" + b"1," * 300_000 + b"1]",
}


def in_bytes(text: str | None) -> bytes:
    return (text or "").encode()


def base_of(text: str | None) -> bytes | None:
    return text.encode() if text is not None else None


@pytest.mark.parametrize("case", CLEAN)
def test_clean(case: str) -> None:
    base, ours, theirs, merged = CLEAN[case]
    assert clean(JSON, base_of(base), in_bytes(ours), in_bytes(theirs)).decode() == merged


@pytest.mark.parametrize("case", CONFLICTS)
def test_conflicts(case: str) -> None:
    base, ours, theirs, expected, with_ours, with_theirs = CONFLICTS[case]
    sides = base_of(base), in_bytes(ours), in_bytes(theirs)
    merged = merge(JSON, *sides)
    assert merged is not None
    assert not merged.markers
    shown = [(r.where, r.base.decode(), r.ours.decode(), r.theirs.decode()) for r in regions(merged)]
    assert shown == expected
    assert merged.data.decode() == with_ours
    for options, text in ((OURS, with_ours), (THEIRS, with_theirs)):
        settled = merge(JSON, *sides, options)
        assert settled is not None
        assert (settled.data.decode(), settled.conflicts, settled.settled) == (text, (), merged.conflicts)


@pytest.mark.parametrize("side", [0, 1, 2])
@pytest.mark.parametrize("case", UNREADABLE)
def test_what_cannot_be_read_is_given_up(case: str, side: int) -> None:
    sides = [b'{"a": 0}', b'{"a": 1}', b'{"a": 2, "b": 3}']
    sides[side] = UNREADABLE[case]
    with pytest.raises(GiveUp, match=("base", "ours", "theirs")[side]):
        JSON.merge(b"a.json", Contents(*sides), Options())


def test_what_suits() -> None:
    brackets = Contents(b"{}", b' \n{"a": 1}\n', b"{}\r\n")
    text = Contents(b"a", b"b", b"c")
    assert JSON.suits(b"dir/A.JSON", text)
    assert JSON.suits(b"x", brackets)
    assert JSON.suits(b"x", brackets._replace(base=None))
    assert not JSON.suits(b"x", text)
    assert not JSON.suits(b"x", brackets._replace(theirs=b"[1}"))
    assert not JSON.suits(b"x", brackets._replace(theirs=b""))


KEYS = st.sampled_from(["a", "b", "c", "id", "name", "\u00e9", "", "a/b", "\ud800"])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.sampled_from([0.5, 1.0, 1e300]),
    st.sampled_from(["", "x", '"', "\n", "\U0001f600"]),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda below: st.lists(below, max_size=4) | st.dictionaries(KEYS, below, max_size=4), max_leaves=12
)


@st.composite
def edited(draw: st.DrawFn, value: Any) -> Any:
    """A value with changes here and there."""
    if isinstance(value, dict) and draw(st.integers(0, 5)):
        result = {key: draw(edited(below)) for key, below in value.items() if draw(st.integers(0, 6))}
        if not draw(st.integers(0, 3)):
            result[draw(KEYS)] = draw(VALUES)
        if not draw(st.integers(0, 5)):
            result = dict(sorted(result.items()))
        return result
    if isinstance(value, list) and draw(st.integers(0, 5)):
        result_list = [draw(edited(below)) for below in value if draw(st.integers(0, 6))]
        if not draw(st.integers(0, 3)):
            result_list.insert(draw(st.integers(0, len(result_list))), draw(VALUES))
        return result_list
    return value if draw(st.integers(0, 3)) else draw(VALUES)


@st.composite
def written(draw: st.DrawFn, value: Any) -> bytes:
    """A value as some text."""
    style = draw(
        st.sampled_from([(None, None), (2, None), ("\t", (",", ": ")), (None, (",", ":")), (None, (" , ", " : "))])
    )
    text = json.dumps(value, ensure_ascii=True, indent=style[0], separators=style[1])
    return (text + draw(st.sampled_from(["", "\n", " \r\n"]))).encode()


@st.composite
def triples(draw: st.DrawFn) -> tuple[bytes, bytes, bytes]:
    base = draw(st.dictionaries(KEYS, VALUES, min_size=1, max_size=5) | VALUES)
    same_style = draw(st.booleans())
    values = [base, draw(edited(base)), draw(edited(base))]
    if same_style:
        indent = draw(st.sampled_from([None, 1]))
        return tuple(json.dumps(value, indent=indent).encode() for value in values)  # type: ignore[return-value]
    return tuple(draw(written(value)) for value in values)  # type: ignore[return-value]


ABSENT = object()


def expected(base: Any, ours: Any, theirs: Any) -> Any:
    """The three-way rule on values, as a second opinion: ABSENT where there is none, `Undecided` for arrays."""
    if ours is theirs or (ours is not ABSENT and theirs is not ABSENT and ours == theirs):
        return ours
    if base is not ABSENT:
        if ours is not ABSENT and ours == base:
            return theirs
        if theirs is not ABSENT and theirs == base:
            return ours
    if isinstance(ours, dict) and isinstance(theirs, dict):
        below = base if isinstance(base, dict) else {}
        result = {}
        for key in {*ours, *theirs}:
            value = expected(below.get(key, ABSENT), ours.get(key, ABSENT), theirs.get(key, ABSENT))
            if value is not ABSENT:
                result[key] = value
        return result
    if base is ABSENT and (ours is ABSENT or theirs is ABSENT):
        return ours if theirs is ABSENT else theirs
    return Undecided()


class Undecided:
    """Equal to any array: which arrays merge how is shown by cases."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, list)

    __hash__ = None  # type: ignore[assignment]


def value_of(data: bytes) -> Any:
    return read_value(data.decode())


@UNHURRIED
@given(triples())
def test_a_clean_merge_is_the_merge_of_the_values(sides: tuple[bytes, bytes, bytes]) -> None:
    merged = merge(JSON, *sides)
    assert merged is not None
    value = value_of(merged.data)
    if not merged.conflicts:
        assert value == expected(*map(value_of, sides))


@UNHURRIED
@given(triples())
def test_swapping_the_sides_changes_nothing(sides: tuple[bytes, bytes, bytes]) -> None:
    base, ours, theirs = sides
    one, two = merge(JSON, base, ours, theirs), merge(JSON, base, theirs, ours)
    assert one is not None
    assert two is not None
    assert sorted((r.base, r.ours, r.theirs) for r in one.conflicts) == swapped(two.conflicts)
    if not one.conflicts:
        assert one.data == two.data
    mine, other = merge(JSON, base, ours, theirs, OURS), merge(JSON, base, theirs, ours, THEIRS)
    assert mine is not None
    assert other is not None
    assert value_of(mine.data) == value_of(other.data)


@UNHURRIED
@given(triples())
def test_a_side_without_a_change_gives_the_other(sides: tuple[bytes, bytes, bytes]) -> None:
    base, ours, _ = sides
    for triple in ((base, ours, base), (base, base, ours), (base, ours, ours)):
        merged = merge(JSON, *triple)
        assert merged is not None
        assert (merged.data, merged.conflicts) == (ours, ())


@UNHURRIED
@given(triples())
def test_prefer_settles_every_conflict_and_nothing_else(sides: tuple[bytes, bytes, bytes]) -> None:
    left, ours, theirs = (merge(JSON, *sides, options) for options in (Options(), OURS, THEIRS))
    assert left is not None
    assert ours is not None
    assert theirs is not None
    assert ours.conflicts == theirs.conflicts == ()
    assert ours.settled == left.conflicts == theirs.settled
    assert ours.data == left.data


@given(
    st.binary(max_size=60)
    | st.text('[]{}",:\\u01 \n-.eE\ud800truefalsn', max_size=60).map(lambda t: t.encode("utf-8", "replace"))
)
def test_garbage_is_read_or_given_up(data: bytes) -> None:
    try:
        document = Document(data)
    except GiveUp:
        return
    assert_spans(document)


@given(VALUES, st.data())
def test_every_value_is_where_it_is_said_to_be(value: Any, data: st.DataObject) -> None:
    assert_spans(Document(data.draw(written(value))))


def assert_spans(document: Document) -> None:
    """Every node's text reads as its value, and the texts of a container's members make up the container."""
    todo = [document.root]
    assert document.lead + document.root.text + document.tail == document.text
    while todo:
        node = todo.pop()
        assert read_value(node.text) == node.value
        if isinstance(node.value, (dict, list)):
            inside = node.container()
            inner = ",".join(member.pre + member.head + member.node.text + member.post for member in inside.members)
            assert inside.empty + inner == node.text[1:-1]
            todo += [member.node for member in inside.members]


def test_bytes_changed_at_random_never_make_a_merge_of_what_does_not_parse() -> None:
    rng = random.Random(5)
    base = json.dumps(
        {"a": [1234567, {"id": "x" * 200, "v": [True, None]}], "b": {"c": "\u00e9\n" + "y" * 200, "d": -1.5e3}},
        indent=1,
    ).encode()
    seen = [0, 0]
    for _ in range(3_000):
        sides = [bytearray(base) for _ in range(3)]
        for side in sides[1:]:
            for _ in range(rng.randint(1, 2)):
                at = rng.randrange(len(side))
                letter = bytes([side[at]]).isalnum() and rng.random() < 0.9
                side[at] = rng.choice(b"1234abcdn" if letter else b'"\\{}[],:0123 \nabcnul\xc3')
        merged = merge(JSON, bytes(sides[0]), bytes(sides[1]), bytes(sides[2]))
        readable = all(parses(bytes(side)) for side in sides)
        assert (merged is not None) == readable
        seen[readable] += 1
    assert min(seen) > 300


def parses(data: bytes) -> bool:
    """Whether `json` reads it, and no object holds a key twice: the second opinion."""

    def unique(pairs: list[tuple[str, Any]]) -> None:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError

    def refused(name: str) -> None:
        raise ValueError(name)

    try:
        json.loads(data.decode("utf-8"), object_pairs_hook=unique, parse_constant=refused)
    except ValueError:
        return False
    return True
