"""What a valid Jupyter notebook is (nbformat 4), as far as a merge can break it."""

from __future__ import annotations

import re
from typing import Any, Final

from jvs.merge.drivers.giveup import GiveUp
from jvs.merge.drivers.json_text import Value

_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_WHOLE: Final = re.compile(r"0|[1-9][0-9]{0,8}")
_ALWAYS: Final = {"cell_type", "metadata", "source"}
_CODE: Final = {"outputs", "execution_count"}
_ATTACHING: Final = ("markdown", "raw")
IDS_SINCE: Final = 5
"""The first minor version of format 4 in which every cell has an id."""


def check_notebook(value: Value) -> None:
    """Raises GiveUp when `value` is not a notebook of format 4: its parts, the members and kinds of each cell, the ids.

    What a merge takes over as a whole, such as an output, is not looked into.
    """
    _demand(
        isinstance(value, dict) and {"cells", "metadata", "nbformat", "nbformat_minor"} <= value.keys(), "its parts"
    )
    _demand(value["nbformat"] == ("4",), "nbformat 4")
    _demand(_is_whole(value["nbformat_minor"]), "nbformat_minor")
    _demand(isinstance(value["metadata"], dict), "metadata")
    _demand(isinstance(value["cells"], list), "cells")
    has_ids = minor(value) >= IDS_SINCE
    for number, cell in enumerate(value["cells"]):
        _demand(isinstance(cell, dict), f"cell {number}")
        _check_cell(cell, f"cell {number}", has_ids=has_ids)
    if has_ids:
        ids = [cell["id"] for cell in value["cells"]]
        _demand(len(set(ids)) == len(ids), "ids that differ")


def minor(value: Value) -> int:
    """The minor version of a notebook that was checked."""
    return int(value["nbformat_minor"][0])


def source_of(value: Value) -> str:
    """The source of a cell as one text, from a text or a list of texts."""
    return value if isinstance(value, str) else "".join(value)


def _check_cell(cell: dict[str, Any], where: str, *, has_ids: bool) -> None:
    kind = cell.get("cell_type")
    needed = _ALWAYS | (_CODE if kind == "code" else set()) | ({"id"} if has_ids else set())
    allowed = needed | ({"attachments"} if kind in _ATTACHING else set())
    _demand(kind in ("code", *_ATTACHING) and needed <= cell.keys() <= allowed, where)
    _demand(not has_ids or (isinstance(cell["id"], str) and _ID.fullmatch(cell["id"]) is not None), f"{where}: id")
    _demand(isinstance(cell["metadata"], dict), f"{where}: metadata")
    _demand(isinstance(cell.get("attachments", {}), dict), f"{where}: attachments")
    source = cell["source"]
    is_source = isinstance(source, str) or (isinstance(source, list) and all(isinstance(line, str) for line in source))
    _demand(is_source, f"{where}: source")
    if kind == "code":
        outputs, count = cell["outputs"], cell["execution_count"]
        _demand(isinstance(outputs, list) and all(isinstance(one, dict) for one in outputs), f"{where}: outputs")
        _demand(count is None or _is_whole(count), f"{where}: execution_count")


def _is_whole(value: Value) -> bool:
    return isinstance(value, tuple) and _WHOLE.fullmatch(value[0]) is not None


def _demand(holds: bool, what: str) -> None:
    if not holds:
        raise GiveUp(f"not a valid notebook: {what}")
