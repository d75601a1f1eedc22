"""The retention policies of a store: set, unset and looked up, inside a transaction.

Setting a policy, a longer one too, makes no root and prolongs none: an entry is protected for as long as it has its
body, and only truncation takes that, after looking at the policies in the same transaction (docs/labels.md).
"""

from __future__ import annotations

from typing import NamedTuple

from jvs.castore.backend import ReadTxn, WriteTxn
from jvs.errors import UnknownError
from jvs.labels.moves import Note
from jvs.labels.names import check_pattern
from jvs.labels.records import write_retention
from jvs.labels.retention import BUILT_IN, Policies, Policy, decode_policy
from jvs.labels.tables import RETENTION, policy_rows


class SetPolicy(NamedTuple):
    """A policy as it is shown. `at_ms`: when it was set; None for one that is built in."""

    pattern: str
    policy: Policy
    at_ms: int | None


def stored_policies(txn: ReadTxn) -> Policies:
    """Every policy there is, ready to be asked which one a label obeys."""
    txn.check_table(RETENTION)  # a policy that vanished must not let go what it kept
    rows = ((pattern, row.policy) for pattern, row in policy_rows(txn))
    return Policies({pattern: decode_policy(raw) for pattern, raw in rows if raw is not None})


def list_policies(txn: ReadTxn) -> list[SetPolicy]:
    """Every policy, also the built-in ones that were not replaced, in byte order of the patterns."""
    times = {pattern: row.at_ms for pattern, row in policy_rows(txn) if row.policy is not None}
    return [SetPolicy(pattern, policy, times.get(pattern)) for pattern, policy in stored_policies(txn)]


def set_policy(txn: WriteTxn, note: Note, pattern: str, policy: Policy) -> None:
    """Replace the policy of a pattern. Raises UsageError (bad-policy)."""
    write_retention(txn, check_pattern(pattern), policy.encode(), _time(txn, note), note.actor)


def unset_policy(txn: WriteTxn, note: Note, pattern: str) -> None:
    """Take the policy of a pattern back; raises UnknownError (unknown-policy) when none was set."""
    known = {found: row.policy for found, row in policy_rows(txn)}
    if known.get(check_pattern(pattern)) is None:
        txn.check_table(RETENTION)
        built_in = "; the one it has is built in" if pattern in BUILT_IN else ""
        raise UnknownError(f"no policy is set for {pattern}{built_in}", code="unknown-policy", pattern=pattern)
    write_retention(txn, pattern, None, _time(txn, note), note.actor)


def _time(txn: ReadTxn, note: Note) -> int:
    """When a policy is set: never before the last time, since the store's clock does not go back."""
    return max([note.now_ms, 0, *(row.at_ms for _pattern, row in policy_rows(txn))])
