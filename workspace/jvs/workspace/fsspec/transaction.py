"""`with fs.transaction(message=...)`: what is written in it is pushed together, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jvs.workspace.fsspec.library import Transaction
from jvs.workspace.fsspec.work import Scope
from jvs.workspace.results import PushResult

if TYPE_CHECKING:
    from jvs.workspace.fsspec.base import Base


class JvsTransaction(Transaction):  # type: ignore[misc]  # fsspec has no types
    """One overlay of one label, pushed at the end. It is of a file system object: whoever uses that, in whatever
    thread, is in it, and nobody else.

    When the label has moved meanwhile, both are merged; a conflict is raised (LabelMovedError), moves nothing, and
    what was written is kept for 24 hours as the snapshot that the error names.

    pushed  after the end: the result of the push; None when nothing was written
    """

    def __init__(self, fs: Base) -> None:
        super().__init__(fs)
        self.message = ""
        self.scope: Scope | None = None
        self.pushed: PushResult | None = None

    def __call__(self, message: str = "") -> JvsTransaction:
        """The same, with the message of its push."""
        self.message = message
        return self

    def start(self) -> None:
        """Begin."""
        if self.scope is not None:
            raise ValueError("this file system is in a transaction already")
        self.scope = self.fs.new_transaction(self.message)
        super().start()

    def complete(self, commit: bool = True) -> None:
        """End; commit: push."""
        scope, fs = self.scope, self.fs
        if scope is None:
            raise ValueError("this transaction has not begun, or has ended")
        try:
            if commit:
                done = scope.push(merge=True)
                if done is not None and done.error is not None:
                    raise done.error
                self.pushed = done
        finally:
            self.files.clear()
            self.scope = None
            fs.transaction_ended()
            scope.close()

    def __exit__(self, kind: Any, exc: Any, trace: Any) -> None:
        self.complete(commit=kind is None)
