"""The fuzz targets without atheris: they accept their seeds, and hold for what hypothesis makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jvs.castore import layout, manifest, recipe
from tests.castore.strategies import damaged
from tests.fuzz.targets import PAGE, TARGETS


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
def test_nothing_is_found_near_the_seeds(name: str, data: st.DataObject) -> None:
    target = TARGETS[name]
    target.run(data.draw(damaged(data.draw(st.sampled_from(target.seeds())))))


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.binary(max_size=300))
def test_nothing_is_found_far_from_them(name: str, data: bytes) -> None:
    TARGETS[name].run(data)


def test_every_target_has_a_harness() -> None:
    """`make fuzz` runs the harnesses it finds."""
    found = {path.stem.removeprefix("fuzz_"): path for path in Path(__file__).parent.glob("fuzz_*.py")}
    assert found.keys() == TARGETS.keys()
    assert all(f'main("{name}")' in path.read_text() for name, path in found.items())


def test_seeds_are_accepted() -> None:
    """A seed that is refused at once teaches the fuzzer nothing."""
    for seed in TARGETS["page"].seeds():
        manifest.decode_page(seed)
    for seed in TARGETS["recipe"].seeds():
        recipe.decode_recipe(seed)
    for seed in TARGETS["layout"].seeds():
        layout.decode_layout(PAGE, seed[1 + seed[0] :])


def test_a_target_notices_a_decoder_that_accepts_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a fuzzer could run for ever and find nothing."""
    accepted = manifest.decode_page(manifest.EMPTY_PAGE)
    monkeypatch.setattr(manifest, "decode_page", lambda data: accepted)
    with pytest.raises(AssertionError):
        TARGETS["page"].run(manifest.EMPTY_PAGE + b"\0")
