"""Fuzz recipe.decode_recipe: `python tests/fuzz/fuzz_recipe.py -max_total_time=60`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.fuzz.engine import main  # a script's own folder is all it finds by itself

main("recipe")
