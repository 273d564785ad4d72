"""ETCD's JSON gateway, as far as embedded workers need it: leases, puts, listings. Leaner to import than gRPC."""

from __future__ import annotations

import base64
import json
from typing import Any

import urllib3

__all__ = ["EtcdGateway"]


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class EtcdGateway:
    """Requests to one ETCD endpoint.

    Parameters
    ----------
    endpoint
        ``host:port``.
    username, password
        Authenticates before the first request, and again when the token has expired.
    """

    def __init__(self, endpoint: str, *, username: str | None = None, password: str | None = None) -> None:
        self._url = f"http://{endpoint}/v3"
        self._credentials = {"name": username, "password": password} if username is not None else None
        self._token: str | None = None
        self._http = urllib3.PoolManager(timeout=urllib3.Timeout(5.0), retries=False)

    def _post(self, route: str, body: dict[str, Any]) -> dict[str, Any]:
        if self._credentials is not None and self._token is None and route != "auth/authenticate":
            self._token = str(self._post("auth/authenticate", self._credentials)["token"])
        headers = {"Authorization": self._token} if self._token is not None else {}
        response = self._http.request("POST", f"{self._url}/{route}", body=json.dumps(body), headers=headers)
        if response.status != 200:
            self._token = None
            raise OSError(f"etcd refused {route}: {response.data.decode(errors='replace')[:200]}")
        answer: dict[str, Any] = json.loads(response.data)
        return answer

    def is_healthy(self) -> bool:
        """Whether the endpoint answers."""
        try:
            self._post("maintenance/status", {})
        except (OSError, urllib3.exceptions.HTTPError):
            return False
        return True

    def grant_lease(self, ttl_s: int) -> str:
        """Id of a new lease of `ttl_s` seconds."""
        return str(self._post("lease/grant", {"TTL": ttl_s})["ID"])

    def keep_alive(self, lease: str) -> bool:
        """Renew `lease`; False if it has run out."""
        answer = self._post("lease/keepalive", {"ID": lease})
        return int(answer.get("result", {}).get("TTL", 0)) > 0

    def revoke_lease(self, lease: str) -> None:
        """End `lease` and its keys at once."""
        self._post("lease/revoke", {"ID": lease})

    def put(self, key: str, value: str, lease: str | None = None) -> None:
        """Write `key`, for as long as `lease` lives if one is given."""
        body = {"key": _encode(key), "value": _encode(value)}
        if lease is not None:
            body["lease"] = lease
        self._post("kv/put", body)

    def delete(self, key: str) -> None:
        """Remove `key`."""
        self._post("kv/deleterange", {"key": _encode(key)})

    def compact(self, revision: int) -> None:
        """Forget history before `revision`."""
        self._post("kv/compaction", {"revision": revision, "physical": True})

    def list(self, prefix: str) -> list[tuple[str, str]]:
        """Keys with `prefix` and their values, ascending by key."""
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        answer = self._post("kv/range", {"key": _encode(prefix), "range_end": _encode(end)})
        return [
            (base64.b64decode(item["key"]).decode(), base64.b64decode(item.get("value", "")).decode())
            for item in answer.get("kvs", [])
        ]

    def revision(self) -> int:
        """The store's revision now."""
        return int(self._post("kv/range", {"key": _encode("/")})["header"]["revision"])

    def enable_authentication(self, username: str, password: str) -> None:
        """Create a root user and `username`, both with `password`, and demand authentication from now on."""
        for user in ("root", username):
            self._post("auth/user/add", {"name": user, "password": password})
        self._post("auth/role/add", {"name": "root"})
        for user in ("root", username):
            self._post("auth/user/grant", {"user": user, "role": "root"})
        self._post("auth/enable", {})
