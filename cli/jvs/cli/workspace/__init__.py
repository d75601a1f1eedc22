"""The verbs for repositories, one module each: they take the nearest repository upwards, and a worktree of it."""
