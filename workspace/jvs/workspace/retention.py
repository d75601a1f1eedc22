"""`fs retention`: which entries of the labels' histories are kept; the rules are in `jvs.labels.retention`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from jvs.workspace.results import Json, iso_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jvs.labels.policies import SetPolicy
    from jvs.workspace.repo import Repo

EVERY = "*"
"""The pattern that is meant when none is named."""


class PolicyInfo(NamedTuple):
    """The policy of a pattern, as typed. at_ms: when it was set; None: it is built in."""

    pattern: str
    rules: str
    at_ms: int | None

    def as_json(self) -> Json:
        """{label, policy, built_in, at}."""
        at = None if self.at_ms is None else iso_time(self.at_ms)
        return {"label": self.pattern, "policy": self.rules, "built_in": self.at_ms is None, "at": at}


def set_policy(repo: Repo, rules: Sequence[str], pattern: str = EVERY) -> PolicyInfo:
    """Replace the policy of the labels that match. Raises UsageError (bad-policy, bad-duration)."""
    repo.labels.set_retention(pattern, rules)
    return policy_of(repo, pattern)


def unset_policy(repo: Repo, pattern: str = EVERY) -> None:
    """Take the policy of a pattern back; raises UnknownError (unknown-policy)."""
    repo.labels.unset_retention(pattern)


def policies(repo: Repo) -> list[PolicyInfo]:
    """Every policy, also the built-in ones that nobody replaced."""
    return [_info(policy) for policy in repo.labels.retention()]


def policy_of(repo: Repo, pattern: str) -> PolicyInfo:
    """The policy that was set for exactly this pattern, which there is."""
    return next(policy for policy in policies(repo) if policy.pattern == pattern)


def _info(policy: SetPolicy) -> PolicyInfo:
    return PolicyInfo(policy.pattern, str(policy.policy), policy.at_ms)
