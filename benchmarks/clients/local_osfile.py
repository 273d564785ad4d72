"""The limit of a local file: Arrow's own filesystem over the same bytes in memory."""

from __future__ import annotations

import pyarrow.fs as pafs

from .base import FilesystemClient


class Client(FilesystemClient):
    """Reads with ``pread`` into Arrow's buffers."""

    def filesystem(self) -> pafs.FileSystem:
        """Return Arrow's local filesystem."""
        return pafs.LocalFileSystem()

    def path(self, name: str) -> str:
        """Return the local path."""
        return f"{self.target.root}/{name}"
