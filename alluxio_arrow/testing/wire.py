"""How a worker reads requests and writes answers. Pure; no I/O.

Every rule here was read off recorded answers of real workers: what they cannot serve they answer by closing the connection,
so most functions give None for "close".
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ["Request", "Slice", "dump_json", "human_size", "parse_request", "query_of", "response_head", "slice_page"]

#: Bytes of a request line, and of a request body, that real workers still take.
MAX_REQUEST_LINE = 4095
MAX_BODY = 10240

_REQUEST_LINE = re.compile(r"(GET|POST|PUT) (\S+) (HTTP/1\.[01])")
_DECODED = {"%2F": "/", "%3A": ":", "%3F": "?"}
_REASONS = {100: "Continue", 200: "OK", 413: "Request Entity Too Large", 500: "Internal Server Error"}


@dataclass(frozen=True, slots=True)
class Request:
    """A request that a worker would look at.

    `endpoint` is the second segment of the path (the first, a version, is not checked), `fields` what follows it.
    """

    method: str
    target: str
    version: str
    endpoint: str
    fields: tuple[str, ...]
    query: dict[str, str]
    headers: dict[str, str]

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays open after the answer."""
        wish = self.headers.get("connection", "").lower()
        return wish != "close" if self.version == "HTTP/1.1" else wish == "keep-alive"


def parse_request(head: bytes) -> Request | None:
    """The request whose head (without the blank line) is `head`; None if the worker closes on it."""
    line, *rest = head.split(b"\r\n")
    # Real workers read request bytes as Latin-1, so names beyond ASCII never arrive as they were sent.
    matched = _REQUEST_LINE.fullmatch(line.decode("latin-1")) if len(line) <= MAX_REQUEST_LINE else None
    if matched is None:
        return None
    method, target, version = matched.groups()
    headers = {}
    for field in rest:
        name, _, value = field.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    path, question, text = re.sub(r"^https?://[^/]*", "", target).partition("?")
    query = query_of(text) if question else {}
    segments = path.split("/")[1:]
    if query is None or not segments:
        return None
    if len(segments) == 1 and not question:
        segments = ["", *segments]
    if len(segments) < 2:
        return None
    if segments[-1] == "" and question:
        query = {}
    return Request(method, target, version, segments[1], tuple(segments[2:]), query, headers)


def query_of(text: str) -> dict[str, str] | None:
    """Parameters of a query: cut at ``&``, then the text between the first and second ``=``; None if one has no value."""
    query = {}
    for item in text.split("&"):
        parts = item.split("=")
        if len(parts) < 2 or not parts[1]:
            return None
        query[parts[0]] = re.sub("%2F|%3A|%3F", lambda matched: _DECODED[matched.group()], parts[1])
    return query


class Slice(NamedTuple):
    """A part of a page of which `length` bytes from `offset` on are sent, `announced` of them promised."""

    offset: int
    length: int


def slice_page(query: dict[str, str], stored: int) -> Slice | None:
    """Which bytes of a page of `stored` bytes a request is for; None if the worker closes on it."""
    try:
        offset = int(query["offset"]) if "offset" in query else 0
        length = int(query["length"]) if "length" in query else stored
    except ValueError:
        return None
    if "offset" not in query:
        length = stored  # A length alone is ignored.
    if offset < 0 or length < 0 or offset > stored or length >= 1 << 31:
        return None
    return Slice(offset, min(length, stored - offset))


def response_head(
    status: int, content_type: str | None, length: int, *, version: str = "HTTP/1.1", connection: str | None = None
) -> bytes:
    """Status line and headers as real workers write them, blank line included."""
    lines = [f"{version} {status} {_REASONS.get(status, 'Error')}"]
    if content_type is not None:
        lines.append(f"content-type: {content_type}")
    lines.append(f"content-length: {length}")
    if connection is not None:
        lines.append(f"connection: {connection}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def dump_json(value: Any) -> bytes:
    """JSON as the servers' Gson writes it: compact, with five characters escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&='":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode("utf-8", "replace")


def human_size(size: int) -> str:
    """``512B``, ``2441.41KB``: powers of 1024, the next unit from more than five of it on."""
    if size <= 5 * 1024:
        return f"{size}B"
    value = float(size)
    for unit in ("KB", "MB", "GB", "TB"):
        value /= 1024
        if value <= 5 * 1024:
            return f"{value:.2f}{unit}"
    return f"{value / 1024:.2f}PB"
