"""How much work a comparison may do. Counted, not timed: the same input gives the same result on every machine."""

from __future__ import annotations

from typing import Final

STEPS_PER_LINE: Final = 1
STEPS_AT_LEAST: Final = 200_000


class Budget:
    """Steps left; a step is looking at one line once. When they are gone, what is left is compared coarsely."""

    __slots__ = ("steps",)

    def __init__(self, steps: int) -> None:
        self.steps = steps

    @classmethod
    def for_lines(cls, lines: int) -> Budget:
        """Enough for anything people write; a bound for what machines do."""
        return cls(STEPS_AT_LEAST + STEPS_PER_LINE * lines)

    def spend(self, steps: int) -> None:
        """Take `steps` off; it may go below zero, the caller asks before the next piece of work."""
        self.steps -= steps

    @property
    def gone(self) -> bool:
        return self.steps <= 0
