"""What the tests of several drivers need."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from jvs.merge.content import Contents, Merged, MergeDriver, Options, Region
from jvs.merge.drivers.giveup import GiveUp

UNHURRIED = settings(suppress_health_check=[HealthCheck.too_slow])
"""For examples that take long to make: that the machine is busy is no fault of the test."""

NONE, OURS, THEIRS = Options(), Options(prefer="ours"), Options(prefer="theirs")


def merge(
    driver: MergeDriver, base: bytes | None, ours: bytes, theirs: bytes, options: Options = NONE
) -> Merged | None:
    """The driver's merge; None also where it says why it gave up."""
    try:
        return driver.merge(b"file", Contents(base, ours, theirs), options)
    except GiveUp:
        return None


def clean(driver: MergeDriver, base: bytes | None, ours: bytes, theirs: bytes) -> bytes:
    """The bytes of a merge that must be clean, in both directions the same."""
    merged = merge(driver, base, ours, theirs)
    assert merged is not None
    assert merged.conflicts == ()
    assert merged.settled == ()
    assert merge(driver, base, theirs, ours) == merged
    return merged.data


def regions(merged: Merged | None) -> tuple[Region, ...]:
    """The conflicts of a merge that must have been made."""
    assert merged is not None
    assert merged.conflicts
    return merged.conflicts


def swapped(found: tuple[Region, ...]) -> list[tuple[bytes, bytes, bytes]]:
    """Regions with the sides exchanged, in an order that does not depend on the sides."""
    return sorted((region.base, region.theirs, region.ours) for region in found)
