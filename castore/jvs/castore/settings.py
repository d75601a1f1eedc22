"""What a store is set to. Settings change how content is stored, never what it is called (DESIGN 4.1)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from jvs.errors import UsageError

_LIMITS: dict[str, tuple[int, int]] = {
    "chunk_min": (64, 1 << 20),
    "chunk_avg": (256, 4 << 20),
    "chunk_max": (1024, 16 << 20),
    "inline_limit": (0, 1 << 20),
    "zstd_level": (1, 19),
}
"""Inclusive bounds; those of the chunk sizes are FastCDC's own."""


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Settings of one store, fixed when it is made. Raises UsageError (bad-setting) when out of bounds.

    chunk_min, chunk_avg, chunk_max  content-defined chunk sizes in bytes, min <= avg <= max
    inline_limit                     files of at most this many bytes are stored in parts, beside their directory
    zstd_level                       1 (fast) to 19 (small)
    """

    chunk_min: int = 256 << 10
    chunk_avg: int = 1 << 20
    chunk_max: int = 4 << 20
    inline_limit: int = 64 << 10
    zstd_level: int = 1

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise UsageError(f"{name} must be {low} to {high}, not {value!r}", code="bad-setting")
        if not self.chunk_min <= self.chunk_avg <= self.chunk_max:
            raise UsageError("chunk sizes must be MIN <= AVG <= MAX", code="bad-setting")

    def to_dict(self) -> dict[str, int]:
        """The settings as plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> StoreSettings:
        """The settings in `data`, all of which must be there and nothing else; raises UsageError (bad-setting)."""
        wanted = {field.name for field in fields(cls)}
        if set(data) != wanted:
            raise UsageError(f"settings must be exactly {', '.join(sorted(wanted))}", code="bad-setting")
        return cls(**data)
