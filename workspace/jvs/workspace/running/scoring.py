"""How good an attempt is: what a command says, as the last line of its output."""

from __future__ import annotations

import math
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from jvs.errors import JvsError
from jvs.workspace.running.command import run_command

if TYPE_CHECKING:
    from jvs.workspace.running.options import Surroundings

_TAIL: Final = 64 << 10
_NUMBER = re.compile(rb"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def score_of(
    words: Sequence[str],
    directory: str,
    environment: Mapping[str, str],
    around: Surroundings,
    timeout: float | None,
    number: int | None,
) -> float | None:
    """Run the command there; the number it ends with. None: it failed, took too long, or ended with something else, and
    the caller was told so."""
    with tempfile.TemporaryFile(dir=around.scratch) as out:  # no pipe: what it leaves running would keep that open
        try:
            ended = run_command(
                words, directory, environment, around.interrupts, timeout=timeout, stdin=subprocess.DEVNULL, stdout=out
            )
        except JvsError:  # interrupted
            return None
        size = out.seek(0, os.SEEK_END)
        out.seek(max(0, size - _TAIL))
        tail = out.read()
    if ended.how != "exited" or ended.status:
        around.tell(f"attempt {number} has no score: the score command: {ended.in_words}")
        return None
    score = last_number(tail)
    if score is None:
        around.tell(f"attempt {number} has no score: the last line of the score command's output is no finite number")
    return score


def last_number(output: bytes) -> float | None:
    """The number that the last line is, if it is one: finite and decimal."""
    lines = output.rstrip().splitlines()
    last = lines[-1].strip() if lines else b""
    if _NUMBER.fullmatch(last) is None:
        return None
    number = float(last)
    return number if math.isfinite(number) else None
