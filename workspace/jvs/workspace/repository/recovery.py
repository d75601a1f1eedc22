"""What a killed process has left half-done in a repository is finished, or taken back, when somebody opens it next."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from jvs.errors import JvsError
from jvs.workspace.repository import creating, intents, removing, renaming, restore
from jvs.workspace.repository.intents import Intent

if TYPE_CHECKING:
    from jvs.workspace.repository.repository import Repository

_RESUME: dict[str, Callable[[Repository, Intent], str | None]] = {
    restore.OPERATION: restore.resume,
    creating.OPERATION: creating.resume,
    renaming.OPERATION: renaming.resume,
    removing.OPERATION: removing.resume,
}


def can_resume(path: str) -> bool:
    """Whether the intent in that file is one that `recover` knows what to do about."""
    intent = intents.read_intent(path)
    return intent is not None and intent.operation in _RESUME


def recover(repository: Repository) -> list[str]:
    """See to every act whose process is gone; what was done, as sentences for people.

    Raises nothing: what cannot be done now (a full disk, another command at work there) stays for the next command,
    and whatever must not be done meanwhile is refused by itself.
    """
    said: list[str] = []
    with intents.abandoned(repository.layout) as found:
        for intent in found:
            resume = _RESUME.get(intent.operation)
            if resume is None:  # of a newer version
                continue
            try:
                sentence = resume(repository, intent)
            except (JvsError, OSError):
                continue
            intents.forget(repository.layout, intent)
            if sentence is not None:
                said.append(sentence)
    return said
