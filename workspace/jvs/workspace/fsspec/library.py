"""What is used of fsspec; nothing else imports it."""

from __future__ import annotations

from jvs.errors import StoreError

try:
    from fsspec.callbacks import DEFAULT_CALLBACK
    from fsspec.config import apply_config
    from fsspec.implementations.local import trailing_sep
    from fsspec.spec import AbstractFileSystem
    from fsspec.transaction import Transaction
    from fsspec.utils import stringify_path
except ImportError as missing:
    raise StoreError(
        "jvs:// needs the package fsspec", code="missing-extra", next="pip install 'jvs-fs[fsspec]'"
    ) from missing

__all__ = ["DEFAULT_CALLBACK", "AbstractFileSystem", "Transaction", "apply_config", "stringify_path", "trailing_sep"]
