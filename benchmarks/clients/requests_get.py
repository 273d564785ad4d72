"""Pages with ``requests.get``: a new connection and a new session for each, as alluxiofs 1.0.x fetches a page."""

from __future__ import annotations

import requests

from .base import PageClient


class Client(PageClient):
    """Keeps nothing."""

    def fetch_page(self, host: str, port: int, url: str) -> bytes:
        """Ask on a connection of its own."""
        response = requests.get(f"http://{host}:{port}{url}", timeout=30)
        response.raise_for_status()
        return response.content
