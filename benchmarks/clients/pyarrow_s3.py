"""Arrow's own S3 filesystem (C++), over the page server's S3 answers: one ranged GET per read."""

from __future__ import annotations

import pyarrow.fs as pafs

from .base import FilesystemClient, Target


class Client(FilesystemClient):
    """Native: no interpreter on the read path."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._filesystem = pafs.S3FileSystem(
            anonymous=True, region="us-east-1", endpoint_override=f"{target.hosts[0]}:{target.port}", scheme="http"
        )

    def filesystem(self) -> pafs.FileSystem:
        """Return Arrow's S3 filesystem."""
        return self._filesystem

    def path(self, name: str) -> str:
        """Return bucket and key."""
        return f"{self.target.bucket}/{name}"
