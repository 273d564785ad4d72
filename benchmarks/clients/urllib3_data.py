"""Pages with a urllib3 pool and ``response.data``, one after another."""

from __future__ import annotations

import urllib3

from .base import PageClient, Target


class Client(PageClient):
    """Keeps one pool per worker."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._pools = {
            host: urllib3.HTTPConnectionPool(host, target.port, maxsize=64, retries=False) for host in target.hosts
        }

    def fetch_page(self, host: str, url: str) -> bytes:
        """Ask through the worker's pool."""
        response = self._pools[host].request("GET", url)
        if response.status != 200:
            raise OSError(f"{url}: HTTP status {response.status}")
        return response.data
