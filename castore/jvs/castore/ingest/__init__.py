"""From a directory on disk to a tree in the store: walking, stat index, ignore rules, reading (DESIGN 4.4)."""
