"""The JSON form of what the pointer plane holds: labels and the entries of their reflogs."""

from __future__ import annotations

from jvs.labels.model import Entry, LabelInfo
from jvs.workspace.results import Json, iso_time, optional_hex


def label_json(info: LabelInfo) -> Json:
    """{name, ca_id, generation, entry_id, at, message, upstream}."""
    return {
        "name": info.name,
        "ca_id": info.ca_id.hex(),
        "generation": info.generation,
        "entry_id": info.entry_id.hex(),
        "at": iso_time(info.at_ms),
        "message": info.message,
        "upstream": info.upstream,
    }


def move_json(entry: Entry) -> Json:
    """{at, from, to, op, message, generation, entry_id, actor, tags, parents, prev, meta, dropped}."""
    return {
        "at": iso_time(entry.at_ms),
        "from": optional_hex(entry.from_),
        "to": optional_hex(entry.to),
        "op": entry.op,
        "message": entry.message,
        "generation": entry.generation,
        "entry_id": entry.id.hex(),
        "actor": entry.actor,
        "tags": list(entry.tags),
        "parents": [parent.hex() for parent in entry.parents],
        "prev": optional_hex(entry.prev),
        "meta": dict(entry.meta),
        "dropped": entry.dropped,
    }
