"""Ignore rules: `.jvsignore` files, at any level, in the syntax of gitignore (DESIGN 4.4).

The verdict on a path is that of git: of all patterns that match *this very path*, the last one of the deepest file
that has one decides; a directory that is ignored is not entered, so nothing below it can be brought back. Patterns
and names are bytes, as they are in git.

Matching is our own and not pathspec's: pathspec decides a path by its prefixes too, which differs from git where
patterns such as `*` and `!dir` meet (docs/ingest.md), costs 25 ms to import, and its regular expressions take
exponential time on hostile patterns. Here each `*` stops at the first place where the rest of its piece fits, which
is always good enough, so time is bounded by pattern length times name length.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Final, NamedTuple

from jvs.castore.digest import keyed

IGNORE_FILE: Final = ".jvsignore"
MAX_IGNORE_FILE: Final = 4 << 20
"""Most bytes of one ignore file."""

_rules_digest = keyed("jvs 2026-11 ignore rules v1")
_DIGEST: Final = 16

_CLASSES: Final = {
    b"alnum": rb"0-9A-Za-z",
    b"alpha": rb"A-Za-z",
    b"blank": rb" \t",
    b"cntrl": rb"\x00-\x1f\x7f",
    b"digit": rb"0-9",
    b"graph": rb"\x21-\x7e",
    b"lower": rb"a-z",
    b"print": rb"\x20-\x7e",
    b"punct": rb"\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e",
    b"space": rb" \t\n\r\f\v",
    b"upper": rb"A-Z",
    b"xdigit": rb"0-9A-Fa-f",
}
_ANY: Final = None
"""A `**` that stands for any number of levels."""


class Pattern(NamedTuple):
    """One line of an ignore file.

    negated         it brings back what it matches
    directory_only  it matches directories only
    anchored        it is matched against the path below its file's directory; else against the name alone
    segments        one expression for each level, `_ANY` for `**`
    """

    negated: bool
    directory_only: bool
    anchored: bool
    segments: tuple[re.Pattern[bytes] | None, ...]

    def matches(self, above: Sequence[bytes], name: bytes) -> bool:
        """Whether it matches `name` at all. above: the names from its file's directory down to that of `name`."""
        return _matches(self.segments, (*above, name) if self.anchored else (name,))


class Rules:
    """The ignore rules that hold in a directory: those of its own file, if any, and those that came down from above.

    digest tells two sets of rules apart that lie at the same path.
    """

    def __init__(self, parent: Rules | None, depth: int, content: bytes) -> None:
        """depth: of the directory the file lies in, the root being 0. content: of the file."""
        self._parent = parent
        self._depth = depth
        self._content = content
        above = parent.digest if parent is not None else b""
        self.digest: bytes = _rules_digest(b"%s%d\n%s" % (above, depth, content))[:_DIGEST]

    @cached_property
    def _patterns(self) -> list[Pattern]:
        return parse_ignore_file(self._content)

    def ignores(self, above: Sequence[bytes], name: bytes, *, is_directory: bool) -> bool:
        """Whether `name` is ignored. above: the names from the root down to its directory, itself not ignored."""
        rules: Rules | None = self
        while rules is not None:
            for pattern in reversed(rules._patterns):
                if pattern.directory_only and not is_directory:
                    continue
                if pattern.matches(above[rules._depth :], name):
                    return not pattern.negated
            rules = rules._parent
        return False


def parse_ignore_file(content: bytes) -> list[Pattern]:
    """The patterns of an ignore file, in order; lines that git takes for nothing or cannot match are left out."""
    patterns = []
    for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        pattern = _parse_line(line)
        if pattern is not None:
            patterns.append(pattern)
    return patterns


def _parse_line(line: bytes) -> Pattern | None:
    text = _strip_end(line.removesuffix(b"\r"))
    if text.startswith(b"#"):
        return None
    negated = text.startswith(b"!")
    text = text[negated:]
    directory_only = text.endswith(b"/")
    text = text[: len(text) - directory_only]
    anchored = b"/" in text
    text = text.removeprefix(b"/")
    if not text:
        return None
    parts = _split(text)
    if parts is None:
        return None
    segments: list[re.Pattern[bytes] | None] = []
    for number, part in enumerate(parts):
        if anchored and len(part) > 1 and not part.strip(b"*"):
            segments.append(_ANY)
            if number == len(parts) - 1:  # everything below, but not the directory itself
                segments.append(_ONE)
            continue
        expression = _expression(part)
        if expression is None:
            return None
        segments.append(re.compile(expression, re.DOTALL))
    return Pattern(negated, directory_only, anchored, tuple(segments))


def _strip_end(line: bytes) -> bytes:
    """Without trailing spaces, but for one that a backslash escapes."""
    end = len(line.rstrip(b" "))
    backslashes = end - len(line[:end].rstrip(b"\\"))
    if end < len(line) and backslashes % 2:
        end += 1
    return line[:end]


def _split(text: bytes) -> list[bytes] | None:
    """The levels of a pattern; a slash inside a bracket separates nothing. None when a bracket has no end."""
    parts: list[bytes] = []
    start = at = 0
    while at < len(text):
        char = text[at : at + 1]
        at += 1
        if char == b"[":
            bracket = _bracket(text, at)
            if bracket is None:
                return None
            at = bracket[1]
        elif char == b"\\" and text[at : at + 1] != b"/":
            at += 1
        elif char in b"/\\":  # an escaped slash is a slash like any other
            parts.append(text[start : at - 1])
            at = start = at + (char == b"\\")
    parts.append(text[start:])
    return parts


def _expression(glob: bytes) -> bytes | None:
    """The glob of one level as a regular expression, or None when git's matcher never matches it."""
    pieces: list[list[bytes]] = [[]]  # between stars
    at = 0
    while at < len(glob):
        char = glob[at : at + 1]
        at += 1
        if char == b"*":
            if pieces[-1] or len(pieces) == 1:
                pieces.append([])
        elif char == b"?":
            pieces[-1].append(b"[^/]")
        elif char == b"[":
            bracket = _bracket(glob, at)
            if bracket is None:
                return None
            expression, at = bracket
            pieces[-1].append(expression)
        else:
            if char == b"\\":
                char = glob[at : at + 1]
                at += 1
                if not char:
                    return None
            pieces[-1].append(re.escape(char))
    first, *rest = (b"".join(piece) for piece in pieces)
    if not rest:
        return first
    # atomic groups: the first place where a piece fits is taken for good, as the star after it makes up for the rest
    middle = b"".join(b"(?>.*?%s)" % piece for piece in rest[:-1])
    return first + middle + b".*" + rest[-1]


def _bracket(glob: bytes, at: int) -> tuple[bytes, int] | None:
    """(expression, place after it) of a bracket whose `[` stands before `at`; None when it has no end."""
    negated = glob[at : at + 1] in (b"!", b"^")
    at += negated
    members: list[bytes] = []
    first = True
    while True:
        char = glob[at : at + 1]
        if not char:
            return None
        if char == b"]" and not first:
            break
        first = False
        if glob.startswith(b"[:", at):
            end = glob.find(b"]", at + 2)
            if end < 0:
                return None
            if glob[end - 1 : end] == b":" and end - 1 >= at + 2:
                name = glob[at + 2 : end - 1]
                if name not in _CLASSES:
                    return None
                members.append(_CLASSES[name])
                at = end + 1
                continue
            # no class after all: a bracket like any other character
        low, at = _member(glob, at)
        if not low:
            return None
        if glob[at : at + 1] == b"-" and glob[at + 1 : at + 2] not in (b"", b"]"):
            high, at = _member(glob, at + 1)
            if not high:
                return None
            if low <= high:
                members.append(re.escape(low) + b"-" + re.escape(high))
                continue
        members.append(re.escape(low))
    inner = b"".join(members)
    if negated:
        return (b"[^/%s]" % inner, at + 1)
    return (b"(?!/)[%s]" % inner if inner else b"(?!)", at + 1)


def _member(glob: bytes, at: int) -> tuple[bytes, int]:
    """(one character of a bracket, the place after it); b"" where the glob ends."""
    if glob[at : at + 1] == b"\\":
        at += 1
    return glob[at : at + 1], at + 1


_ONE: Final = re.compile(rb".*", re.DOTALL)


def _matches(segments: Sequence[re.Pattern[bytes] | None], path: Sequence[bytes]) -> bool:
    """Whether the segments match the whole path. As with stars in a name, `**` need only be tried at the first level
    where what follows it (up to the next one) fits."""
    runs: list[list[re.Pattern[bytes]]] = [[]]
    for segment in segments:
        if segment is None:
            runs.append([])
        else:
            runs[-1].append(segment)
    first, *rest = runs
    if not rest:
        return len(path) == len(first) and _fits(first, path, 0)
    if not _fits(first, path, 0):
        return False
    at = len(first)
    last = rest[-1]
    end = len(path) - len(last)
    for run in rest[:-1]:
        while at + len(run) <= end and not _fits(run, path, at):
            at += 1
        if at + len(run) > end:
            return False
        at += len(run)
    return at <= end and _fits(last, path, end)


def _fits(run: Sequence[re.Pattern[bytes]], path: Sequence[bytes], at: int) -> bool:
    return at + len(run) <= len(path) and all(
        segment.fullmatch(path[at + number]) is not None for number, segment in enumerate(run)
    )
