"""The numbers by which a kernel knows nodes: given out by answers that name one, taken back when it forgets them."""

from __future__ import annotations

import errno
from threading import Lock
from typing import Any

from jvs.overlay.fuse.views import View, failure

ROOT = 1


class Known:
    """A node that the kernel knows. lookups: in how many answers it was named, less what was forgotten."""

    __slots__ = ("lookups", "node", "view")

    def __init__(self, view: View, node: Any) -> None:
        self.view = view
        self.node = node
        self.lookups = 0


class Numbers:
    """The table. Thread-safe. A number is never used again; a view of which nothing is known is released."""

    def __init__(self, root: View) -> None:
        self._lock = Lock()
        self._known: dict[int, Known] = {ROOT: Known(root, root.root)}
        self._numbers: dict[tuple[int, int], int] = {(id(root), id(root.root)): ROOT}
        self._views: dict[View, int] = {root: 1}
        self._next = ROOT + 1

    def __getitem__(self, number: int) -> Known:
        """The node of a number; raises ESTALE for one that is unknown, which no kernel asks for."""
        try:
            return self._known[number]
        except KeyError:
            raise failure(errno.ESTALE) from None

    def name(self, view: View, node: Any) -> int:
        """The number of a node, which an answer is about to name once more."""
        with self._lock:
            key = (id(view), id(node))
            number = self._numbers.get(key)
            if number is None:
                number = self._next
                self._next += 1
                self._numbers[key] = number
                self._known[number] = Known(view, node)
                self._views[view] = self._views.get(view, 0) + 1
            self._known[number].lookups += 1
            return number

    def find(self, view: View, node: Any) -> int | None:
        """The number of a node, if the kernel knows it."""
        return self._numbers.get((id(view), id(node)))

    def forget(self, number: int, lookups: int) -> None:
        """The kernel has forgotten so many of the answers that named it."""
        with self._lock:
            known = self._known.get(number)
            if known is None or number == ROOT:
                return
            known.lookups -= lookups
            if known.lookups > 0:
                return
            del self._known[number]
            self._numbers.pop((id(known.view), id(known.node)), None)
            left = self._views[known.view] - 1
            if left:
                self._views[known.view] = left
                return
            del self._views[known.view]
        known.view.release()

    def all(self) -> list[tuple[int, Known]]:
        """Everything that is known."""
        with self._lock:
            return list(self._known.items())

    def rename(self, number: int, node: Any) -> None:
        """From now on the number means another node of its view; None: none that anything else leads to."""
        with self._lock:
            known = self._known.get(number)
            if known is None:
                return
            self._numbers.pop((id(known.view), id(known.node)), None)
            if node is not None:
                known.node = node
                self._numbers[id(known.view), id(node)] = number
