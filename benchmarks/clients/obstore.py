"""obstore (the Rust object_store crate), over the page server's S3 answers: one ranged GET per read."""

from __future__ import annotations

from typing import Any

import pyarrow.fs as pafs

from .base import BaseClient, Reader, Target


class Client(BaseClient):
    """Reads ranges with ``get_range``; under pyarrow through obstore's fsspec class and ``FSSpecHandler``."""

    def __init__(self, target: Target) -> None:
        from obstore.fsspec import FsspecStore
        from obstore.store import S3Store

        super().__init__(target)
        options: dict[str, Any] = {
            "endpoint": target.s3_endpoint,
            "region": "us-east-1",
            "skip_signature": True,
            "virtual_hosted_style_request": False,
            "client_options": {"allow_http": True},
        }
        self._store = S3Store(target.bucket, **options)
        self._fsspec = FsspecStore("s3", **options)

    def open(self, name: str) -> Reader:
        """Return a reader of ranges."""
        return _RangeReader(self._store, name)

    def filesystem(self) -> pafs.FileSystem:
        """Return the wrapped filesystem."""
        return pafs.PyFileSystem(pafs.FSSpecHandler(self._fsspec))

    def path(self, name: str) -> str:
        """Return bucket and key."""
        return f"{self.target.bucket}/{name}"


class _RangeReader:
    def __init__(self, store: Any, name: str) -> None:
        self._store = store
        self._name = name

    def read_at(self, offset: int, length: int) -> Any:
        return self._store.get_range(self._name, start=offset, length=length)
