"""Hands a target of `targets` to atheris, with its seeds; the harnesses fuzz_*.py call it, `make fuzz` calls them."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["jvs"]):
    from tests.fuzz.targets import TARGETS

_PREFIX = "-artifact_prefix="


def main(name: str) -> None:
    """Fuzz the target `name` with libFuzzer's options as given on the command line; does not return.

    Seeds lie beside the findings. They are all kept: what a decoder in C makes of them is no coverage to libFuzzer.
    """
    target = TARGETS[name]
    given = [option.removeprefix(_PREFIX) for option in sys.argv if option.startswith(_PREFIX)]
    seeds = Path(given[-1] if given else tempfile.mkdtemp(prefix=f"jvs-fuzz-{name}-")) / "seeds"
    seeds.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (seeds / f"{number:02d}").write_bytes(seed)
    atheris.Setup([*sys.argv, "-keep_seed=1", str(seeds)], target.run)
    atheris.Fuzz()
