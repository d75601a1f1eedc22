"""Every failure as one `JvsError`, and that as text for people and as JSON.

What a code means (exit status, default next step) is in `jvs.errors.CODES` and nowhere else.
"""

from __future__ import annotations

import errno
from typing import Any

import click

from jvs.cli.text import plain
from jvs.errors import CODES, JvsError, NoSpaceError, ReadOnlyError, StoreError, UsageError

_LISTS = ("paths", "matches")
"""Details that people need to see line by line."""
_SHOWN = 20


class Reported(Exception):
    """A failure that is already in the value on stdout: nothing is left to do but leave with its exit status."""

    def __init__(self, error: JvsError) -> None:
        super().__init__(error.message)
        self.error = error


def as_jvs_error(error: BaseException) -> JvsError:
    """The failure that `error` is, in jvs's own terms."""
    if isinstance(error, JvsError):
        return error
    if isinstance(error, click.ClickException):
        return _usage(error)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return JvsError("interrupted", code="interrupted")
    if isinstance(error, OSError):
        return _system(error)
    return JvsError(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


def error_json(error: JvsError) -> dict[str, Any]:
    """{code, error_code?, message, next, details}."""
    named = {} if error.error_code is None else {"error_code": error.error_code}
    return {
        "code": error.code,
        **named,
        "message": error.message,
        "next": next_step(error),
        "details": dict(error.details),
    }


def error_lines(error: JvsError) -> list[str]:
    """`error: ... (E_NAME)` in one line, the paths or matches it is about (at most 20), `next: ...`."""
    named = "" if error.error_code is None else f" ({error.error_code})"
    lines = [f"error: {plain(error.message)}{named}"]
    for key in _LISTS:
        found = error.details.get(key)
        if isinstance(found, list | tuple):
            lines += [f"  {plain(_item(item))}" for item in found[:_SHOWN]]
            total = error.details.get("count")
            left = (total if isinstance(total, int) else len(found)) - min(len(found), _SHOWN)
            if left > 0:
                lines.append(f"  ... and {left:,} more")
    step = next_step(error)
    if step is not None:
        lines.append(f"next: {plain(step)}")
    return lines


def with_step(error: JvsError, command: str) -> JvsError:
    """The failure itself, with the help of the command that failed as its next step when it has none."""
    if error.next is None and error.code != "interrupted":
        error.next = f"{command} --help"
    return error


def next_step(error: JvsError) -> str | None:
    """What to do next; where the table's sentence says LABEL, the label that the failure is about."""
    label = error.details.get("label")
    if error.next is not None and error.next == CODES[error.code].next and isinstance(label, str):
        return error.next.replace("LABEL", label)
    return error.next


def _item(item: object) -> str:
    """One path (with its reason), or one match: `entry <id>  main@3`."""
    if not isinstance(item, dict):
        return str(item)
    if "path" in item:
        return f"{item['path']} ({item.get('reason')})"
    place = "" if item.get("label") is None else f"  {item['label']}@{item.get('generation')}"
    return f"{item.get('kind')} {item.get('id')}{place}"


def _usage(error: click.ClickException) -> UsageError:
    message = error.format_message().strip().rstrip(".")
    context = getattr(error, "ctx", None)
    command = "jvs" if context is None else context.command_path
    return UsageError(message[:1].lower() + message[1:], next=f"{command} --help")


def _system(error: OSError) -> StoreError:
    where = f"{error.filename}: " if isinstance(error.filename, str) else ""
    message = f"{where}{error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpaceError(message)
    if error.errno == errno.EROFS:
        return ReadOnlyError(message)
    return StoreError(message)
