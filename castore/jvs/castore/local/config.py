"""The file `config` of a store: JSON for people to read, and a checksum so that a flipped bit is no setting."""

from __future__ import annotations

import json
from typing import NamedTuple

from jvs.castore.digest import check_digest
from jvs.castore.settings import StoreSettings
from jvs.errors import IntegrityError, UsageError


class StoreConfig(NamedTuple):
    """What is fixed when a store is made: its name among all stores (32 hex digits), and its settings."""

    uuid: str
    settings: StoreSettings


def encode_config(config: StoreConfig) -> bytes:
    """The bytes of the file."""
    text = json.dumps({"settings": config.settings.to_dict(), "store": config.uuid}, indent=2, sort_keys=True)
    raw = text.encode() + b"\n"
    return raw + b"checksum " + check_digest(raw).hex().encode() + b"\n"


def decode_config(raw: bytes) -> StoreConfig:
    """The configuration in the bytes of the file. Raises IntegrityError (damaged)."""
    try:
        text = raw[: raw.rindex(b"checksum ")]
        data = json.loads(text)
        config = StoreConfig(str(data["store"]), StoreSettings.from_dict(data["settings"]))
        if encode_config(config) == raw:
            return config
    except (ValueError, KeyError, TypeError, AttributeError, UsageError):
        pass
    raise IntegrityError("the file config of the store is damaged", next="jvs doctor --repair")
