"""Repositories: worktrees bound to labels, save points, and the verbs that work on them.

layout       where things lie, making a repository, finding one
worktrees    the registry of a repository's worktrees
position     at which save point a worktree stands
savepoints   save points and their ids, and what people may type to name one
snapshot, history, status, differences, settings, info   one use-case each
"""
