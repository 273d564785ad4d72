"""The limit of no copy at all: Arrow's local filesystem with memory maps."""

from __future__ import annotations

import pyarrow.fs as pafs

from . import local_osfile


class Client(local_osfile.Client):
    """Reads by mapping."""

    def filesystem(self) -> pafs.FileSystem:
        """Return Arrow's local filesystem with memory maps."""
        return pafs.LocalFileSystem(use_mmap=True)
