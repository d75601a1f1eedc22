"""`jvs doctor` in a repository: its store (`jvs.workspace.doctor`), and beside it what makes it a repository: layout,
worktrees, positions, exports, and what lies about."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from jvs.castore.binding import replace_file
from jvs.castore.names import display, to_bytes
from jvs.errors import CODES, IntegrityError, JvsError, UnknownError
from jvs.labels.acts import ACT_OP
from jvs.labels.locks import opens
from jvs.labels.store import wall_clock
from jvs.workspace import doctor as store_doctor
from jvs.workspace.engines import detect_engine
from jvs.workspace.locate import CONTROL
from jvs.workspace.repo import Repo
from jvs.workspace.repository import descriptors, intents, leftovers, position
from jvs.workspace.repository.creating import TEMPORARY, remove_directory
from jvs.workspace.repository.layout import (
    ADOPTED,
    FOLDERS,
    MAIN,
    REPO_ID,
    WORKTREES,
    Layout,
    Place,
    check_worktree_name,
    near_layout,
)
from jvs.workspace.repository.repository import Repository
from jvs.workspace.repository.settings import load_settings
from jvs.workspace.repository.worktrees import CONFIG, Registry, new_worktree
from jvs.workspace.results import DoctorResult, Finding, Json

if TYPE_CHECKING:
    from jvs.workspace.progress import Progress

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SESSION_MODE: Final = 0o600
_SHOWN: Final = 20
_OF_THE_STORE: Final = frozenset({"index", "labels", "store", "format", "read"})
"""Categories of findings with which the histories cannot be read through."""


class Repair(NamedTuple):
    """Something that a doctor can mend."""

    id: str
    description: str
    command: str

    def as_json(self) -> Json:
        """{id, description, command}."""
        return self._asdict()


REPAIRS: Final = (
    Repair("clean_tmp", "remove temporary files and locks of processes that are gone", "jvs doctor --repair-runtime"),
    Repair("clean_intents", "finish or take back what was interrupted", "jvs doctor --repair-runtime"),
    Repair(
        "advance_head",
        "let worktrees stand at the snapshot they made, and be registered, as before they were interrupted",
        "jvs doctor --repair-runtime",
    ),
    Repair(
        "rebuild_index",
        "make a damaged index anew from packs and journal, and the exports of snapshots",
        "jvs doctor --repair-runtime (whatever is found: jvs doctor --rebuild-index)",
    ),
    Repair(
        "audit_repair",
        "put damaged records of the audit back (from a copy: jvs doctor --repair --from STORE)",
        "jvs doctor --repair-runtime",
    ),
)


def doctor(
    layout: Layout,
    *,
    repair: bool = False,
    runtime: bool = False,
    rebuild_index: bool = False,
    strict: bool = False,
    sources: Sequence[str] = (),
    progress: Progress | None = None,
) -> DoctorResult:
    """Examine a repository and its store. What to do about it is said as to `jvs.workspace.doctor.doctor`; `repair` and
    `runtime` also do what `REPAIRS` says, of which nothing takes anything away from a living process.

    Raises what opening a store raises, except for damage, which is a finding.
    """
    found = store_doctor.doctor(
        layout.store(),
        repair=repair,
        runtime=runtime,
        rebuild_index=rebuild_index,
        strict=strict,
        sources=sources,
        progress=progress,
    )
    readable = all(f.category not in _OF_THE_STORE or f.severity != "error" or f.repaired for f in found.findings)
    before = list(_look(layout, readable))
    told = before
    if (repair or runtime) and before:
        _mend(layout, readable)
        after = list(_look(layout, readable))
        mended = [finding._replace(repaired=True) for finding in before if finding not in after]
        told = [*mended, *after]
    findings = [f._replace(error_code=_named(f.error_code)) for f in (*found.findings, *told)]
    return found._replace(findings=tuple(findings))


def layout_to_examine(store: str, start: str) -> Layout | None:
    """The repository whose store is in the directory `store`: the one around `start`, else the one that it lies in;
    also one whose id is gone. None: the store is nobody's, or another's."""
    near = near_layout(start)
    with suppress(JvsError):
        if near is not None and os.path.realpath(near.store()) == os.path.realpath(store):
            return near
    root, name = os.path.split(os.path.realpath(store))
    if name != CONTROL or not os.path.isfile(os.path.join(store, WORKTREES, MAIN, CONFIG)):
        return None
    return Layout(root, os.path.exists(os.path.join(store, ADOPTED)))


def _named(code: str | None) -> str | None:
    """The name that the first JVS had for an error, if it had one."""
    return code if code not in CODES else CODES[code].error_code or code


# -- looking


def _look(layout: Layout, readable: bool) -> Iterator[Finding]:
    """What is wrong with the repository. readable: its store can be read."""
    yield from _of_layout(layout)
    for path in leftovers.temporaries(layout):
        yield Finding("leftover", "temporary, of a process that is gone", "warning", None, _shown(layout, path))
    for path in leftovers.stale_intents(layout):
        yield Finding("intents", "of an act that was interrupted", "warning", None, _shown(layout, path))
    if not readable or not _has_id(layout):
        return
    with Repo.open(layout.store(), actor="doctor") as repo:
        yield from _of_worktrees(layout, repo)
        yield from _of_locks(layout, repo)
        with suppress(JvsError):  # said already: its registry, or its settings, cannot be read
            yield from _of_exports(Repository(layout, repo))


def _of_layout(layout: Layout) -> Iterator[Finding]:
    for folder in FOLDERS:
        if not os.path.isdir(os.path.join(layout.control, folder)):
            yield Finding("layout", "the folder is not there", "warning", None, _shown(layout, layout.control, folder))
    if not _has_id(layout):
        path = _shown(layout, layout.control, REPO_ID)
        yield Finding("layout", "the repository's id cannot be read", "error", "damaged", path)
    if not layout.adopted and not os.path.isdir(layout.worktrees):
        yield Finding("layout", "the folder is not there", "warning", None, _shown(layout, layout.worktrees))
    try:
        load_settings(layout)
    except IntegrityError as error:
        yield Finding("layout", error.message, "error", error.code)


def _has_id(layout: Layout) -> bool:
    if not os.path.isfile(os.path.join(layout.control, REPO_ID)):
        return False
    return _UUID.fullmatch(layout.repo_id) is not None


def _of_worktrees(layout: Layout, repo: Repo) -> Iterator[Finding]:
    """The registry beside the directories, the labels and the positions."""
    registry, labels = Registry(layout), dict[str, str]()
    if not registry.has(MAIN):
        record = _shown(layout, layout.record(MAIN), CONFIG)
        yield Finding("worktrees", f"the record of {MAIN} is gone", "error", "unknown-worktree", record)
    for name in registry.names():
        path = _shown(layout, layout.path(name))
        try:
            worktree = registry.get(name)
        except UnknownError:
            continue  # removed or renamed since it was listed
        except JvsError as error:
            record = _shown(layout, layout.record(name), CONFIG)
            yield Finding("worktrees", f"the record of {name} is damaged", "error", error.code, record)
            continue
        if not os.path.isdir(layout.path(name)):
            again = f"mkdir {path} and jvs restore HEAD -w {name}, or: jvs worktree remove {name}"
            yield Finding("worktrees", f"the directory of {name} is gone: {again}", "warning", None, path)
        place = Place(layout, name)
        binding = position.load(place)
        if binding is None and os.path.lexists(layout.binding(name)):
            where = _shown(layout, layout.binding(name))
            yield Finding("head", f"where {name} stands cannot be read", "warning", "damaged", where)
            continue
        label = binding.label if binding is not None and binding.label is not None else worktree.label
        if label in labels:
            yield Finding("worktrees", f"{name} and {labels[label]} have the same label, {label}", "warning")
        labels[label] = name
        if binding is None:
            continue
        settled = position.settled(repo, place)
        if settled is not None and settled.entry_id != binding.entry_id:
            yield Finding("head", f"{name} does not stand at the snapshot that was made there last", "warning")
        root = None if settled is None or settled.ca_id is None else repo.standing(settled.ca_id)
        if settled is not None and settled.ca_id is not None and (root is None or not repo.has_snapshot(root)):
            gone = f"what {name} stands at is not in the store any more: jvs restore HEAD -w {name}"
            yield Finding("head", gone, "warning", "object-missing")
    busy = _at_work(layout)
    for name in _unregistered(layout, registry):
        if name not in busy:
            where = _shown(layout, layout.record(name))
            yield Finding("worktrees", f"{name} has no record: its making was interrupted", "warning", None, where)
    yield from _strangers(layout, registry, busy)


def _unregistered(layout: Layout, registry: Registry) -> list[str]:
    """Names of folders in the registry that no worktree has, and that are not that of main."""
    folder = os.path.dirname(layout.record(MAIN))
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [n for n in names if n != MAIN and os.path.isdir(layout.record(n)) and not registry.has(n)]


def _strangers(layout: Layout, registry: Registry, busy: set[str]) -> Iterator[Finding]:
    """Directories among the worktrees that are none. They are the user's: nobody removes them."""
    names = sorted(os.listdir(layout.worktrees)) if os.path.isdir(layout.worktrees) else []
    for name in names:
        temporary = name.startswith(TEMPORARY)
        if not temporary and name not in busy and not (name != MAIN and registry.has(name)):
            where = _shown(layout, layout.path(name) if name != MAIN else os.path.join(layout.worktrees, name))
            yield Finding("worktrees", "is no worktree, though it lies among them", "warning", None, where)


def _at_work(layout: Layout) -> set[str]:
    """The worktrees that an act is about which runs, or was interrupted."""
    folder = os.path.join(layout.control, intents.FOLDER)
    names = os.listdir(folder) if os.path.isdir(folder) else []
    known = [intents.read_intent(os.path.join(folder, name)) for name in names]
    there = [intent for intent in known if intent is not None]
    return {intent.worktree for intent in there} | {str(intent.fields.get("to", intent.worktree)) for intent in there}


def _of_locks(layout: Layout, repo: Repo) -> Iterator[Finding]:
    now_ms = wall_clock()
    for lock in repo.labels.locks():
        if not lock.in_force(now_ms):
            over = f"the lease of {lock.who or 'somebody'} on {lock.label} is over: it is in nobody's way"
            yield Finding("locks", over, "info")
    for name in Registry(layout).names():
        where = _shown(layout, layout.session(name))
        if _is_stale(layout, repo, name):
            yield Finding("locks", f"the lock noted for {name} is held no more", "warning", None, where)
        elif _is_open(layout.session(name)):
            yield Finding("locks", f"others may read the lock noted for {name}", "warning", None, where)


def _is_stale(layout: Layout, repo: Repo, name: str) -> bool:
    """Whether a nonce is noted for a worktree that opens no lock."""
    nonce = layout.session_nonce(name)
    with repo.store.read() as txn:
        return nonce is not None and not opens(txn, nonce, wall_clock())


def _is_open(session: str) -> bool:
    try:
        return bool(stat.S_IMODE(os.lstat(session).st_mode) & ~_SESSION_MODE)
    except FileNotFoundError:
        return False


def _of_exports(repository: Repository) -> Iterator[Finding]:
    """Exports are never the truth, so none of this makes a repository unhealthy."""
    found = descriptors.compare(repository)
    for name in found.changed[:_SHOWN]:
        where = _shown(repository.layout, descriptors.path_of(repository.layout, name))
        yield Finding("descriptors", f"the export of {name} says something else", "warning", "entry-damaged", where)
    if len(found.changed) > _SHOWN:
        yield Finding(
            "descriptors", f"more exports that say something else: {len(found.changed) - _SHOWN:,}", "warning"
        )
    if found.missing:
        yield Finding("descriptors", f"snapshots without an export: {len(found.missing):,}", "info")
    if found.left:
        yield Finding("descriptors", f"exports of snapshots that are gone: {len(found.left):,}", "info")


def _shown(layout: Layout, *path: str) -> str:
    return display(to_bytes(os.path.relpath(os.path.join(*path), layout.root)))


# -- mending


def _mend(layout: Layout, readable: bool) -> None:
    """Everything that may be mended beside whoever is at work; what cannot be now stays."""
    for folder in (*(os.path.join(layout.control, folder) for folder in FOLDERS), layout.worktrees):
        if folder != layout.worktrees or not layout.adopted:
            os.makedirs(folder, exist_ok=True)
    with ExitStack() as stack:
        if readable:
            repo = stack.enter_context(Repo.open(layout.store(), actor="doctor"))
            if not _has_id(layout):
                _recover_id(layout, repo)
            _register(layout, repo)
            with suppress(JvsError):
                repository = Repository(layout, repo)
                leftovers.settle_intents(repository)
                _advance(repository)
                descriptors.rebuild(repository)
            _tidy_sessions(layout, repo)
            _drop_unregistered(layout)
        leftovers.remove_temporaries(layout)


def _recover_id(layout: Layout, repo: Repo) -> None:
    """The id is in the journal, which has the act that made the repository."""
    for record in repo.store.journal_records():
        details = record.skeleton.get("details") if record.op in (ACT_OP + "init", ACT_OP + "clone") else None
        found = details.get(REPO_ID) if isinstance(details, dict) else None
        if isinstance(found, str) and _UUID.fullmatch(found):
            replace_file(os.path.join(layout.control, REPO_ID), found.encode() + b"\n")


def _register(layout: Layout, repo: Repo) -> None:
    """Write the records of worktrees anew that say nothing, or of main are gone. When they were made, and from what, is
    not known."""
    registry = Registry(layout)
    with suppress(JvsError, OSError), registry.lock(0):
        for name in dict.fromkeys([MAIN, *registry.names()]):
            try:
                registry.get(name)
            except (IntegrityError, UnknownError):
                binding = position.load(Place(layout, name))
                made = new_worktree(name, at_ms=wall_clock(), base=None, engine=detect_engine(layout.root))
                if binding is not None and binding.label is not None:
                    made = made._replace(label=binding.label)
                registry.put(made)


def _advance(repository: Repository) -> None:
    """Record where worktrees stand, where that is not what was recorded."""
    for name in repository.registry.names():
        with suppress(JvsError, OSError), repository.registry.worktree_lock(name, 0):
            place = repository.place(name)
            settled = position.settled(repository.repo, place)
            if settled is not None and settled != position.load(place):
                position.save(repository.repo, place, settled)
    position.tell_all(repository.repo, repository.layout)


def _tidy_sessions(layout: Layout, repo: Repo) -> None:
    """Forget notes of locks that are held no more, and hide the others."""
    for name in Registry(layout).names():
        with suppress(OSError):
            if _is_stale(layout, repo, name):
                os.unlink(layout.session(name))
            elif _is_open(layout.session(name)):
                os.chmod(layout.session(name), _SESSION_MODE)


def _drop_unregistered(layout: Layout) -> None:
    """Remove what was to be the record of a worktree, where there is no directory for it."""
    registry = Registry(layout)
    with suppress(JvsError, OSError), registry.lock(0):
        busy = _at_work(layout)
        for name in _unregistered(layout, registry):
            with suppress(JvsError):
                check_worktree_name(name)
                if name not in busy and not os.path.lexists(layout.path(name)):
                    remove_directory(layout.record(name))
