"""`.jvsattributes` files: which driver merges a path, with the syntax and precedence of gitattributes (DESIGN 8).

A line is a pattern and the attributes it sets: `NAME`, `-NAME`, `NAME=VALUE`, or `!NAME`, which takes back what was
said before. Later lines win over earlier ones, and files of deeper directories over those above them; each attribute
on its own. `binary` stands for `-diff -merge -text`, as it does in git; there are no other macros, and lines that
define some are skipped. Patterns are those of `.jvsignore`, but none is negated, and one that matches a directory says
nothing about what is in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Final, NamedTuple, TypeAlias

from jvs.castore.ingest.ignore import Pattern, parse_ignore_file

ATTRIBUTES_FILE: Final = ".jvsattributes"
MAX_ATTRIBUTES_FILE: Final = 4 << 20
"""Most bytes of one attributes file; who reads them refuses larger ones."""
MAX_LINE: Final = 2048
"""Lines of more bytes are skipped, as they are by git."""

Value: TypeAlias = bytes | bool | None
"""NAME: True; -NAME: False; NAME=VALUE: the value; !NAME: None."""

Settings: TypeAlias = Mapping[bytes, Value]
"""The attributes of one path, in the order in which they were decided, the last one last."""

NO_SETTINGS: Final[Settings] = {}

_BLANKS: Final = b" \t\r"
_NAME: Final = re.compile(rb"[A-Za-z0-9_.][-A-Za-z0-9_.]*")
_QUOTED: Final = re.compile(rb'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_ESCAPE: Final = re.compile(rb"\\([abfnrtv\"\\]|[0-3][0-7][0-7]|.)", re.DOTALL)
_ESCAPED: Final = {
    b"a": b"\a",
    b"b": b"\b",
    b"f": b"\f",
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"v": b"\v",
    b'"': b'"',
    b"\\": b"\\",
}
_BINARY: Final = ((b"diff", False), (b"merge", False), (b"text", False))


class Line(NamedTuple):
    """One line of an attributes file: what it matches and what it sets, in order."""

    pattern: Pattern
    sets: tuple[tuple[bytes, Value], ...]


class Attributes:
    """What the attributes files of a directory and of those above it say."""

    def __init__(self, parent: Attributes | None, depth: int, content: bytes) -> None:
        """depth: of the directory the file lies in, the root being 0. content: of the file."""
        self._parent = parent
        self._depth = depth
        self._content = content

    @cached_property
    def _lines(self) -> list[Line]:
        return parse_attributes_file(self._content)

    def of(self, above: Sequence[bytes], name: bytes) -> Settings:
        """The attributes of the file `name`. above: the names from the root down to its directory."""
        settings: dict[bytes, Value] = dict(self._parent.of(above, name)) if self._parent is not None else {}
        for line in self._lines:
            if line.pattern.matches(above[self._depth :], name):
                for attribute, value in line.sets:
                    settings.pop(attribute, None)  # what is said last stands last
                    settings[attribute] = value
        return settings


def parse_attributes_file(content: bytes) -> list[Line]:
    """The lines of an attributes file, in order; those that git takes for nothing or skips are left out."""
    lines = []
    for text in content.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        line = _parse_line(text)
        if line is not None:
            lines.append(line)
    return lines


def _parse_line(text: bytes) -> Line | None:
    text = text.lstrip(_BLANKS)
    if not text or text.startswith(b"#") or len(text) > MAX_LINE:
        return None
    quoted = _QUOTED.match(text)
    glob = _unquoted(quoted[1]) if quoted is not None else None
    if quoted is not None and glob is not None:
        rest = text[quoted.end() :]
    else:
        end = next((at for at, char in enumerate(text) if char in _BLANKS), len(text))
        glob, rest = text[:end], text[end:]
    if glob.startswith((b"!", b"[attr]")) or glob.endswith(b"/") or b"\n" in glob:
        return None
    sets: list[tuple[bytes, Value]] = []
    for word in rest.split():
        setting = _parse_setting(word)
        if setting is None:
            return None
        sets.append(setting)
        if setting == (b"binary", True):
            sets += _BINARY
    # to an ignore file a `#` in front and blanks behind mean something else
    end = len(glob.rstrip(b" "))
    glob = (b"\\" if glob.startswith(b"#") else b"") + glob[:end] + b"\\ " * (len(glob) - end)
    patterns = parse_ignore_file(glob)
    return Line(patterns[0], tuple(sets)) if len(patterns) == 1 else None


def _parse_setting(word: bytes) -> tuple[bytes, Value] | None:
    """One attribute as a line sets it; None when its name is none."""
    sign = word[:1] if word[:1] in (b"-", b"!") else b""
    name, equals, value = word[len(sign) :].partition(b"=")
    if _NAME.fullmatch(name) is None:
        return None
    if sign:
        return name, False if sign == b"-" else None
    return name, value if equals else True


def _unquoted(text: bytes) -> bytes | None:
    """What a string in the quotes of C says; None when an escape is unknown."""
    pieces = []
    at = 0
    for escape in _ESCAPE.finditer(text):
        code = escape[1]
        if len(code) == 3:
            char = bytes([int(code, 8)])
        elif code in _ESCAPED:
            char = _ESCAPED[code]
        else:
            return None
        pieces += [text[at : escape.start()], char]
        at = escape.end()
    return b"".join([*pieces, text[at:]])
