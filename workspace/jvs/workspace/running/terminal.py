"""The terminal of a command that runs in a process group of its own: lent to it, as a shell does.

Only the group that has the terminal may read from it, and gets what Ctrl-C sends. A pager that reads what the command
writes is in our group: it is stopped when it asks for a key meanwhile, and goes on when the terminal is taken back.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

_STDIN = 0


class Terminal:
    """The terminal that is our stdin, while our group has it."""

    @staticmethod
    def ours() -> Terminal | None:
        """None: stdin is no terminal, or others have it."""
        with suppress(OSError):
            if os.isatty(_STDIN) and os.tcgetpgrp(_STDIN) == os.getpgrp():
                return Terminal()
        return None

    def give(self, group: int) -> None:
        """Let that group have it; goes on with it if it was stopped because it had not."""
        self._to(group)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGCONT)

    def take(self) -> None:
        """Have it back."""
        self._to(os.getpgrp())
        os.killpg(os.getpgrp(), signal.SIGCONT)

    def stop_too(self, group: int) -> None:
        """The command was stopped (Ctrl-Z): so are we, until whoever stopped us says to go on."""
        self.take()
        os.kill(os.getpid(), signal.SIGSTOP)
        if os.tcgetpgrp(_STDIN) == os.getpgrp():
            self.give(group)
        else:  # in the background
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGCONT)

    @staticmethod
    def _to(group: int) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})  # whoever has it not is stopped by it
        try:
            with suppress(OSError):
                os.tcsetpgrp(_STDIN, group)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
