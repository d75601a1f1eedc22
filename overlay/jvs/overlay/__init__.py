"""The overlay: a mutable view over a pinned snapshot, and its adapters.  Nothing is here yet."""
