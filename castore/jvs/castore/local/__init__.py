"""The embedded store: pack files, one LMDB environment and a journal in a directory (DESIGN 4.3, docs/format.md).

Nothing is imported here: the child process that walks an index (`probe`) needs little of it.
"""
