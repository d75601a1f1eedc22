"""`jvs://` for fsspec: `filesystem.JvsFileSystem`. Nothing here imports fsspec before that module is imported."""
