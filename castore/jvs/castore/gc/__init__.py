"""Garbage collection that is safe beside anyone: the protocol, its collectors, pins (DESIGN 6, docs/gc-protocol.md)."""
