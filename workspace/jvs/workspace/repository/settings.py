"""What `jvs config` keeps: `.jvs/settings.json`, replaced whole.

engine        how worktrees are cloned; `auto`: what was found when the repository was made
compress      `none`, `fast`, `default` or `max`, for what a snapshot adds
default_tags  tags that every snapshot gets, separated by commas
wait          seconds a command waits for another one
"""

from __future__ import annotations

import json
import os
from typing import Final, NamedTuple

from jvs.castore.binding import replace_file
from jvs.errors import IntegrityError, UsageError
from jvs.labels.names import check_tag
from jvs.workspace.repository.layout import Layout

FILE: Final = "settings.json"
WAIT: Final = 10.0
"""Seconds that a command waits for another one, unless told otherwise."""
LEVELS: Final[dict[str, int | None]] = {"none": 0, "fast": 1, "default": None, "max": 19}
"""Levels of compression by name; None: what the store was made with."""
AUTO: Final = "auto"
_DEFAULTS: Final = {"compress": "default", "default_tags": "", "engine": AUTO, "wait": f"{WAIT:g}"}
KEYS: Final = tuple(_DEFAULTS)
_MAX_FILE: Final = 64 << 10
_MAX_WAIT: Final = 86_400.0


class Settings(NamedTuple):
    """The settings of one repository. engine None: as the repository was made."""

    engine: str | None
    level: int | None
    default_tags: tuple[str, ...]
    wait: float


def level_of(name: str, default: int) -> int:
    """The level of compression of that name, `default` being the store's."""
    level = LEVELS[name]
    return default if level is None else level


def load_settings(layout: Layout) -> Settings:
    """The settings. Raises IntegrityError when the file holds none."""
    values = shown(layout)
    try:
        return _parsed(values)
    except UsageError as error:
        raise _damaged(layout) from error


def shown(layout: Layout) -> dict[str, str]:
    """Every setting as text, defaults among them."""
    try:
        with open(os.path.join(layout.control, FILE), "rb") as file:
            values = json.loads(file.read(_MAX_FILE + 1))
    except FileNotFoundError:
        return dict(_DEFAULTS)
    except (ValueError, RecursionError) as error:
        raise _damaged(layout) from error
    if not isinstance(values, dict) or not all(isinstance(item, str) for pair in values.items() for item in pair):
        raise _damaged(layout)
    return _DEFAULTS | {key: values[key] for key in KEYS if key in values}


def set_setting(layout: Layout, key: str, value: str) -> None:
    """Keep a setting. Raises UsageError (bad-setting), and what `validate_engine` raises."""
    check_key(key)
    values = shown(layout) | {key: value}
    _parsed(values)
    if key == "engine" and value != AUTO:
        from jvs.workspace.engines import validate_engine  # 10 ms that other settings do without

        validate_engine(layout.root, value)
    kept = {name: text for name, text in sorted(values.items()) if text != _DEFAULTS[name]}
    replace_file(os.path.join(layout.control, FILE), json.dumps(kept, indent=2).encode() + b"\n")


def check_key(key: str) -> str:
    """Return `key`; raises UsageError (bad-setting) when there is no such setting."""
    if key not in KEYS:
        raise UsageError(
            f"there is no setting {key!r}; there is {', '.join(KEYS)}", code="bad-setting", next="jvs config show"
        )
    return key


def _parsed(values: dict[str, str]) -> Settings:
    if values["compress"] not in LEVELS:
        raise UsageError(
            f"compress is {', '.join(LEVELS)}, not {values['compress']!r}", code="bad-setting", next="jvs config show"
        )
    tags = tuple(check_tag(tag.strip()) for tag in values["default_tags"].split(",") if tag.strip())
    try:
        wait = float(values["wait"])
    except ValueError:
        wait = -1.0
    if not 0 <= wait <= _MAX_WAIT:
        raise UsageError(
            f"wait is 0 to {_MAX_WAIT:,.0f} seconds, not {values['wait']!r}",
            code="bad-setting",
            next="jvs config set wait 10",
        )
    engine = None if values["engine"] == AUTO else values["engine"]
    return Settings(engine, LEVELS[values["compress"]], tags, wait)


def _damaged(layout: Layout) -> IntegrityError:
    path = os.path.join(layout.control, FILE)
    return IntegrityError(f"the settings of the repository cannot be read: {path}", next=f"mv {path} {path}.damaged")
