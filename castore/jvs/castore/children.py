"""Starting Python in a child process that imports exactly what this process would. Always spawned, never forked."""

from __future__ import annotations

import json
import sys


def python_command(module: str, *arguments: str) -> list[str]:
    """The command line that runs `main()` of `module` with `arguments` in `sys.argv[1:]`, however the path of this
    process came to be."""
    start = f"import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); from {module} import main; main()"
    return [sys.executable, "-c", start, json.dumps(sys.path), *arguments]
