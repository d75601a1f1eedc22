"""Run each atheris harness of tests/fuzz for a while: `make fuzz`.

A harness is a script tests/fuzz/fuzz_*.py that calls atheris.Setup(sys.argv, ...) and atheris.Fuzz().  Each
runs for JVS_SECONDS (60) with at most 2 GiB of memory and 10 s for one input; a crash, a hang or too much
memory is a failure, and the input that did it is kept in the directory named.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HARNESSES = Path(__file__).resolve().parent.parent / "tests" / "fuzz"


def main() -> int:
    """1 if any harness found something, or there is none to run."""
    if importlib.util.find_spec("atheris") is None:
        print("atheris is for Linux only: no harness was run", file=sys.stderr)
        return int(sys.platform == "linux")
    harnesses = sorted(HARNESSES.glob("fuzz_*.py"))
    if not harnesses:
        print(f"no harness fuzz_*.py in {HARNESSES}", file=sys.stderr)
        return 1
    seconds = os.environ.get("JVS_SECONDS", "60")
    found = []
    for harness in harnesses:
        kept = tempfile.mkdtemp(prefix=f"jvs-{harness.stem}-")
        print(f"== {harness.stem}: {seconds} s, findings in {kept}", flush=True)
        limits = [f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]
        done = subprocess.run([sys.executable, str(harness), *limits, f"-artifact_prefix={kept}/"], check=False)
        if done.returncode != 0:
            found.append(harness.stem)
    print(f"fuzz: {len(harnesses)} harnesses, {len(found)} with findings", *found)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
