"""s3fs (aiobotocore), over the page server's S3 answers; under pyarrow through ``FSSpecHandler``."""

from __future__ import annotations

import pyarrow.fs as pafs

from .base import BaseClient, FsspecReader, Reader, Target


class Client(BaseClient):
    """Reads ranges with ``cat_file``, the cheapest call that s3fs has for them."""

    def __init__(self, target: Target) -> None:
        import s3fs

        super().__init__(target)
        self._s3 = s3fs.S3FileSystem(anon=True, endpoint_url=target.s3_endpoint, use_listings_cache=False)

    def open(self, name: str) -> Reader:
        """Return a reader of ranges."""
        return FsspecReader(self._s3, self.path(name))

    def filesystem(self) -> pafs.FileSystem:
        """Return the wrapped filesystem."""
        return pafs.PyFileSystem(pafs.FSSpecHandler(self._s3))

    def path(self, name: str) -> str:
        """Return bucket and key."""
        return f"{self.target.bucket}/{name}"
