"""Faults of a worker that can be switched on while it runs."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

__all__ = ["FAULT_KINDS", "Fault", "FaultBox"]

#: What a fault does to an answer.
FAULT_KINDS = {
    "drop": "close without an answer",
    "stall": "wait `seconds` before the answer",
    "short_body": "send half of the body, then close",
    "reset": "send half of the body, then reset the connection",
    "wrong_length": "announce one byte more than the page has, and send one more",
    "status": "answer with HTTP status `status`",
    "slow": "send `bytes_per_s` bytes per second",
    "chunked": "answer correctly, but in chunks",
    "redirect": "answer by a redirect to the same target",
}


@dataclass
class Fault:
    """One fault.

    Attributes
    ----------
    kind
        One of `FAULT_KINDS`.
    endpoint
        Which requests it concerns: ``file`` (pages), ``info``, ``files``, ``load``, ``health``.
    count
        How many requests it is for; None: all.
    after
        Requests that are spared first.
    seconds, status, bytes_per_s
        Measures of the kinds that have one.
    """

    kind: str
    endpoint: str = "file"
    count: int | None = None
    after: int = 0
    seconds: float = 1.0
    status: int = 500
    bytes_per_s: int = 1_000_000

    def __post_init__(self) -> None:
        if self.kind not in FAULT_KINDS:
            raise ValueError(f"unknown fault {self.kind!r}: one of {', '.join(FAULT_KINDS)}")


class FaultBox:
    """The faults that are on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def replace(self, faults: list[dict[str, Any]]) -> None:
        """Switch on exactly `faults`."""
        with self._lock:
            self._faults = [Fault(**fault) for fault in faults]

    def take(self, endpoint: str) -> Fault | None:
        """The fault for the next request to `endpoint`, if any."""
        with self._lock:
            for fault in self._faults:
                if fault.endpoint != endpoint or fault.count == 0:
                    continue
                if fault.after > 0:
                    fault.after -= 1
                    continue
                if fault.count is not None:
                    fault.count -= 1
                return fault
        return None
