"""The content plane: digests, chunks, manifests, stores, ingest, checkout, diff, verify."""
