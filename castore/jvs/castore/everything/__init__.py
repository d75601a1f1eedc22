"""Verification of everything a backend holds: cut into tasks, of which a second process does a share."""
