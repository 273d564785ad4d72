"""Pages with a urllib3 pool and ``response.data``, one after another."""

from __future__ import annotations

import urllib3

from .base import PageClient, Target


class Client(PageClient):
    """Keeps one pool per worker, found by urllib3's own pool manager."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._manager = urllib3.PoolManager(maxsize=64, retries=False)

    def fetch_page(self, host: str, port: int, url: str) -> bytes:
        """Ask through the worker's pool."""
        response = self._manager.connection_from_host(host, port).request("GET", url)
        if response.status != 200:
            raise OSError(f"{url}: HTTP status {response.status}")
        return response.data
