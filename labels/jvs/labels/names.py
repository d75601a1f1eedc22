"""The checkers of label names and tags (DESIGN 5).

A label name is NFC UTF-8 of 1 to 255 bytes: components of letters, digits, `.`, `_` and `-` joined by `/`. What is
refused here is refused because it could be read as something else: an id (8 or more hex digits), an option (`-x`), a
hidden path (`.x`), the operand `tag:T`, or `HEAD` and `log`, which front ends give a meaning of their own.
That no label is a path prefix of another depends on the other labels, so it is checked in the move's transaction.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from jvs.castore.digest import MIN_PREFIX
from jvs.errors import UsageError

MAX_LABEL_NAME: Final = 255
"""Longest label name, in bytes of UTF-8."""

MAX_NAME: Final = 128
"""Longest name of a worktree or ref."""

MAX_TAG: Final = 128
"""Longest tag, in bytes of UTF-8."""

AUTOSAVE: Final = "autosave"
"""First component of the labels that hold autosaves; nothing but an autosave makes one."""

TAG_PREFIX: Final = "tag:"
"""What a revision that is a tag starts with."""

_RESERVED_COMPONENTS = frozenset({"HEAD", "log"})
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
_PLAIN_TAG = _PLAIN | frozenset("+=")
_PLAIN_PATTERN = _PLAIN | frozenset("/*?[]!")
_HEX = "0123456789abcdefABCDEF"


def check_label_name(name: str) -> str:
    """Return `name`; raises UsageError (bad-label-name) with the reason when no label may be called that."""
    reason = label_name_fault(name)
    if reason is not None:
        raise UsageError(f"{shown(name)} cannot be a label name: {reason}", code="bad-label-name")
    return name


def check_tag(tag: str) -> str:
    """Return `tag`; raises UsageError (bad-tag) when it may not be a tag: one component, `+` and `=` allowed too."""
    reason = _length_fault(tag, MAX_TAG) or _component_fault(tag, _PLAIN_TAG)
    if reason is not None:
        raise UsageError(f"{shown(tag)} cannot be a tag: {reason}", code="bad-tag")
    return tag


def check_name(name: str, what: str) -> str:
    """Return `name`; raises UsageError (bad-name) when no worktree or ref (`what`) may be called that: letters of
    ASCII, digits, `.`, `_` and `-`; not `.`, `..` or `HEAD`, and not starting with `-`."""
    reason = _length_fault(name, MAX_NAME)
    if reason is None and name in (".", "..", "HEAD"):
        reason = "it is reserved"
    elif reason is None and name[0] == "-":
        reason = "it starts with '-'"
    elif reason is None:
        odd = next((char for char in name if char not in _PLAIN), None)
        reason = None if odd is None else f"{shown(odd)} is not allowed in it"
    if reason is not None:
        raise UsageError(f"{shown(name)} cannot be the name of a {what}: {reason}", code="bad-name")
    return name


def check_pattern(pattern: str) -> str:
    """Return `pattern`; raises UsageError (bad-policy) when it could match no label: what names are made of, and the
    wildcards `*`, `?`, `[...]` and `[!...]`."""
    reason = _length_fault(pattern, MAX_LABEL_NAME)
    if reason is None:
        odd = next((char for char in pattern if char not in _PLAIN_PATTERN and not _is_letter(char)), None)
        reason = None if odd is None else f"{shown(odd)} is not allowed in it"
    if reason is not None:
        raise UsageError(f"{shown(pattern)} cannot be a pattern of labels: {reason}", code="bad-policy")
    return pattern


def label_name_fault(name: str) -> str | None:
    """Why `name` cannot be a label name (one line for people), or None when it can."""
    fault = _length_fault(name, MAX_LABEL_NAME)
    if fault is not None:
        return fault
    for component in name.split("/"):
        fault = _component_fault(component, _PLAIN)
        if fault is not None:
            return fault
    if len(name) >= MIN_PREFIX and not name.strip(_HEX):
        return f"{MIN_PREFIX} or more hex digits read as an id"
    if name == TAG_PREFIX[:-1]:
        return "`tag:` is how a tag is written"
    return None


def is_autosave_name(name: str) -> bool:
    """Whether `name` is kept for autosaves: `autosave` or anything below it."""
    return name == AUTOSAVE or name.startswith(AUTOSAVE + "/")


def shown(text: str) -> str:
    """The text as people may see it: quoted, short, control characters and lone surrogates escaped."""
    return ascii(text[:80]) if not text[:80].isprintable() else repr(text[:80])


def _length_fault(name: str, limit: int) -> str | None:
    try:
        length = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        return "it is not UTF-8"
    if length == 0:
        return "it is empty"
    if length > limit:
        return f"it has {length} bytes, at most {limit} are allowed"
    if not name.isascii() and not unicodedata.is_normalized("NFC", name):
        return "it is not in Unicode normal form NFC"
    return None


def _component_fault(component: str, plain: frozenset[str]) -> str | None:
    if not component:
        return "a component between slashes is empty"
    if component[0] in "-.":
        return f"a component starts with {component[0]!r}"
    if component in _RESERVED_COMPONENTS:
        return f"{component} is reserved"
    for char in component:
        if char not in plain and not _is_letter(char):
            return f"{shown(char)} is not allowed in it"
    return None


def _is_letter(char: str) -> bool:
    """Whether a character beyond ASCII is a letter."""
    return char > "\x7f" and char.isalpha()
