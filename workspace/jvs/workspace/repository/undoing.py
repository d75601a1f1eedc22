"""`jvs undo`: the newest move of a worktree's label, or the newest restore of the worktree, whichever came last, is
reverted. An undo is an act like any other, so a second one reverts the first.

A label that goes back takes the worktree along if that stood at its newest snapshot; what is in the directory stays as
it is, and what was saved there is unsaved work again. A restore that is undone brings back what the directory was, the
unsaved work in it included, and where it stood.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from jvs.castore.binding import Binding
from jvs.errors import StateError, UnknownError
from jvs.labels.model import HOUSEKEEPING
from jvs.workspace.repository import position, renaming, returning
from jvs.workspace.repository.restore import Restored, Work
from jvs.workspace.repository.savepoints import is_save_point
from jvs.workspace.results import Json, LabelMove

if TYPE_CHECKING:
    from jvs.labels.model import Entry
    from jvs.workspace.progress import Progress
    from jvs.workspace.repository.repository import Repository


class Undone(NamedTuple):
    """What was undone: a move of the label, or a restore. worktree: its name, which may be another one now."""

    worktree: str
    move: LabelMove | None
    restored: Restored | None

    def as_json(self) -> Json:
        """{undid, worktree_name} and the fields of the move, or of the restore."""
        undid = "restore" if self.restored is not None else "rename" if self.move is None else "move"
        more: Json = {} if self.move is None else self.move.as_json()
        if self.restored is not None:
            more = {key: value for key, value in self.restored.as_json().items() if key != "status"}
        return {"undid": undid, "worktree_name": self.worktree, **more}


def undo(
    repository: Repository, name: str, *, reason: str = "", wait: float | None = None, progress: Progress | None = None
) -> Undone:
    """Undo the newest thing. Raises StateError (nothing-to-undo), LeaseError, LockedError, CollectedError, and what a
    restore raises."""
    registry, repo, place = repository.registry, repository.repo, repository.place(name)
    seconds = repository.settings.wait if wait is None else wait
    repository.directory(name)
    with registry.worktree_lock(name, seconds):
        binding = position.settled(repo, place)
        label = position.label_of(place, binding)
        repo.labels.check_lock(label)
        newest = _newest(repository, label)
        known = returning.remembered(repository.layout, name)
        if known is not None and known.generation >= (0 if newest is None else newest.generation):
            return _undo_restore(repository, name, binding or Binding(label, 0, None), known, reason, progress)
        if newest is None or _made_it(repository, newest):
            raise StateError(
                f"nothing was done in the worktree {name} yet that could be undone",
                code="nothing-to-undo",
                next="jvs log",
                label=label,
            )
        former = newest.meta.get("worktree")
        if newest.op != "rename" or not isinstance(former, str):
            return Undone(name, _undo_move(repository, name, label, binding, reason), None)
    return Undone(renaming.rename(repository, name, former, reason=reason, wait=wait).worktree.name, None, None)


def _undo_restore(
    repository: Repository,
    name: str,
    binding: Binding,
    known: returning.Returning,
    reason: str,
    progress: Progress | None,
) -> Undone:
    plan = known.plan
    work = Work(repository, name, binding, force=False, progress=progress)
    one = None if plan.stood.entry_id is None else repository.savepoints.at(plan.stood.entry_id)
    done, autosaved = work.journaled(plan.before, plan.stood, one, reason=reason or "undo of a restore")
    return Undone(name, None, Restored(name, one, plan.stood.detached, autosaved, done))


def _undo_move(repository: Repository, name: str, label: str, binding: Binding | None, reason: str) -> LabelMove:
    repo, place = repository.repo, repository.place(name)
    before = repo.labels.get(label)
    moved = repo.undo(label, reason)
    head = repo.labels.get(label)
    if binding is None or binding.detached or before is None:
        return moved
    if head is None:
        position.save(repo, place, Binding(label, 0, None))
    elif binding.generation == before.generation or head.ca_id == binding.ca_id:
        bound = Binding(head.name, head.generation, head.ca_id, head.entry_id, unapplied=binding.unapplied)
        position.save(repo, place, bound)
    return moved


def _newest(repository: Repository, label: str) -> Entry | None:
    """The newest entry of a label that somebody made, renames included."""
    try:
        return next((entry for entry in repository.repo.labels.log(label) if entry.op not in HOUSEKEEPING), None)
    except UnknownError:
        return None


def _made_it(repository: Repository, entry: Entry) -> bool:
    """Whether an entry only made the label of a worktree that was forked."""
    if entry.op != "create":
        return False
    with repository.repo.store.read() as txn:
        return not is_save_point(txn, entry.op, entry.to, entry.parents)
