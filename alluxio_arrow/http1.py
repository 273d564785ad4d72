"""Reading the head of an HTTP/1.1 response. Pure; no I/O.

Only the plain answer of a worker is understood here: ``HTTP/1.1 200`` with one ``content-length``. Anything else that is HTTP
is left to urllib3, which knows the rest of the protocol.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

__all__ = ["MAX_HEAD_SIZE", "Head", "find_head_end", "parse_head"]

#: Bytes after which a head that has not ended is given up.
MAX_HEAD_SIZE = 16384

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [^\r\n]*)?\r\n")
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*(?=\r\n)")


class Head(NamedTuple):
    """What a response head says.

    Attributes
    ----------
    status
        HTTP status code.
    content_length
        Bytes of the body; None unless the answer is plain.
    keep_alive
        Whether the connection may be used again after the body.
    """

    status: int
    content_length: int | None
    keep_alive: bool

    @property
    def is_plain(self) -> bool:
        """Whether the body can be received without urllib3."""
        return self.status == 200 and self.content_length is not None


def find_head_end(received: bytes) -> int:
    """Index just behind the blank line that ends the head, or -1 while it has not come."""
    end = received.find(b"\r\n\r\n")
    return end + 4 if end >= 0 else -1


# Heads differ by their lengths only, and the lengths are few: most are a page's.
@lru_cache(maxsize=256)
def parse_head(head: bytes) -> Head | None:
    """What the complete `head` (blank line included) says, or None if it is not an HTTP/1 response."""
    status_line = _STATUS_LINE.match(head)
    if status_line is None:
        return None
    fields = head[status_line.end() - 2 :].lower()
    lengths = _CONTENT_LENGTH.findall(fields)
    # A coded body or two lengths are beyond the plain answer: framing must never be guessed.
    is_framed_plainly = len(lengths) == 1 == fields.count(b"\r\ncontent-length") and not (
        b"\r\ntransfer-encoding" in fields or b"\r\ncontent-encoding" in fields
    )
    keep_alive = status_line.group(1) == b"1" and not (
        b"\r\nconnection:" in fields and b"close" in fields.partition(b"\r\nconnection:")[2].partition(b"\r\n")[0]
    )
    return Head(int(status_line.group(2)), int(lengths[0]) if is_framed_plainly else None, keep_alive)
