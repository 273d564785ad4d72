"""Pages with one ``requests.Session``, one after another: what most Python clients of an HTTP service do."""

from __future__ import annotations

import requests
from requests.adapters import HTTPAdapter

from .base import PageClient, Target


class Client(PageClient):
    """Keeps connections alive."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._session = requests.Session()
        self._session.mount("http://", HTTPAdapter(pool_connections=64, pool_maxsize=64))

    def fetch_page(self, host: str, port: int, url: str) -> bytes:
        """Ask through the session."""
        response = self._session.get(f"http://{host}:{port}{url}")
        response.raise_for_status()
        return response.content
