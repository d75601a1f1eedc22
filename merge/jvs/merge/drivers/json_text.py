"""JSON as text: where each value of a document stands in it, so that a merge moves text and writes no JSON anew.

Strict: RFC 8259 and nothing else. A document is given up that is not UTF-8, is not JSON (no comments, no NaN), holds a
key twice in one object, or is nested deeper than `MAX_DEPTH`. Values are those of `json`, except that a number is a
tuple with its literal: 1, 1.0 and true are three values, and no number is too large.

What lies inside is only looked at where somebody asks for it: one pass finds the brackets, and the members of an object
or array are found from there, so finding a place costs what lies beside the way to it.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NamedTuple, TypeAlias

from jvs.merge.drivers.giveup import GiveUp

Value: TypeAlias = Any
"""None, bool, str, (literal,), list of values, or dict of str to value."""

MAX_DEPTH: Final = 100
MAX_VALUES: Final = 150_000
"""Most values of one document, counted by commas and brackets: each takes some 100 bytes of memory."""

# possessive: what has matched is not tried again, so these take linear time and no stack
_STRING: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
# an open string goes to the end of the text: tried again at every quote in it, it would take quadratic time
_STRUCTURE: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)
_SCALAR: Final = re.compile(r"[-+.0-9A-Za-z]*+")
_SPACE: Final = re.compile(r"[ \t\r\n]*+")
_LEAD: Final = re.compile(r"\ufeff?[ \t\r\n]*+")
_COLON: Final = re.compile(r"[ \t\r\n]*+:[ \t\r\n]*+")


class Node:
    """A value and where it stands. value: see `Value`; text: as it is written."""

    __slots__ = ("_document", "end", "start", "value")

    def __init__(self, document: Document, start: int, end: int, value: Value) -> None:
        self._document = document
        self.start = start
        self.end = end
        self.value = value

    @property
    def text(self) -> str:
        """As it is written in its document."""
        return self._document.text[self.start : self.end]

    def container(self) -> Container:
        """What is in an object or array, which this must be."""
        return self._document.container(self)


class Member(NamedTuple):
    """One member of an object, or element of an array, and the text around it.

    key   of a member; an element's place
    pre   the space between what stands before it (a comma or the opening bracket) and it
    head  a member's key and colon, with the space to its value
    post  the space between its value and what comes after it (a comma or the closing bracket)
    """

    key: str | int
    pre: str
    head: str
    node: Node
    post: str


class Container(NamedTuple):
    """The members of an object or array; `empty` is the text between the brackets of one without any."""

    members: list[Member]
    empty: str


class Document:
    """A JSON text that has been read; raises GiveUp when it cannot be."""

    def __init__(self, data: bytes) -> None:
        try:
            self.text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise GiveUp(f"not UTF-8 at byte {error.start}") from None
        if sum(data.count(char) for char in (b",", b"[", b"{")) > MAX_VALUES:
            raise GiveUp(f"more than {MAX_VALUES} values")
        self._ends = _brackets(self.text)
        lead = _LEAD.match(self.text)
        assert lead is not None
        self.lead = lead[0]
        """A byte order mark, if any, and space before the value."""
        body = self.text.removeprefix("\ufeff")
        value = read_value(body)
        end = len(self.text.rstrip(" \t\r\n"))
        self.tail = self.text[end:]
        """Space after the value."""
        self.root = Node(self, len(self.lead), end, value)

    def container(self, node: Node) -> Container:
        """What is in the object or array `node`."""
        text, ends = self.text, self._ends
        members: list[Member] = []
        keyed = isinstance(node.value, dict)
        at = node.start + 1
        while True:
            space = _end(_SPACE, text, at)
            if space == node.end - 1 and not members:
                return Container(members, text[at:space])
            pre, begin = text[at:space], space
            key: str | int = len(members)
            if keyed:
                end = _end(_STRING, text, begin)
                key = text[begin + 1 : end - 1]
                key = json.loads(text[begin:end]) if "\\" in key else key
                start = _end(_COLON, text, end)
            else:
                start = begin
            first = text[start]
            end = ends[start] + 1 if first in "{[" else _end(_STRING if first == '"' else _SCALAR, text, start)
            after = _end(_SPACE, text, end)
            value = node.value[key]
            members.append(Member(key, pre, text[begin:start], Node(self, start, end, value), text[end:after]))
            if after == node.end - 1:
                return Container(members, "")
            at = after + 1  # behind the comma


def read_value(text: str) -> Value:
    """The value of a JSON text without a byte order mark; raises GiveUp when it is not strict JSON."""
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise GiveUp(f"not JSON: {error}") from None
    except RecursionError:
        raise GiveUp("nested too deeply") from None


def pointer(path: tuple[str | int, ...]) -> str:
    """A place in a document as a JSON pointer (RFC 6901), fit to be shown: no lone surrogates, long keys cut."""
    shown = []
    for step in path:
        name = str(step)
        name = name if len(name) <= 200 else name[:200] + "..."
        shown.append("/" + name.encode("utf-8", "backslashreplace").decode().replace("~", "~0").replace("/", "~1"))
    return "".join(shown)


def _brackets(text: str) -> dict[int, int]:
    """For each opening bracket outside strings the place of its closing one. Whether they pair up the parser checks."""
    ends: dict[int, int] = {}
    opened: list[int] = []
    for found in _STRUCTURE.finditer(text):
        char = text[found.start()]
        if char == '"':
            continue
        if char in "[{":
            opened.append(found.start())
            if len(opened) > MAX_DEPTH:
                raise GiveUp(f"nested deeper than {MAX_DEPTH}")
        elif opened:
            ends[opened.pop()] = found.start()
        else:
            raise GiveUp("not JSON: a bracket closes that was not opened")
    return ends


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    if found is None:
        raise AssertionError("a text that parses has this here")
    return found.end()


def _number(literal: str) -> Value:
    return (literal,)


def _object(pairs: list[tuple[str, Value]]) -> Value:
    read = dict(pairs)
    if len(read) != len(pairs):
        raise GiveUp("a key occurs twice in an object")
    return read


def _constant(name: str) -> Value:
    raise GiveUp(f"not JSON: {name}")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_number, parse_float=_number, parse_constant=_constant
)
