"""Drivers, which merge the contents of files of one format, and the chain that asks them in order (DESIGN 8)."""
