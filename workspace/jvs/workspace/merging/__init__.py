"""`fs merge`, `fs resolve` and what belongs to them: merging revisions of a store, with their lineage (DESIGN 8)."""
