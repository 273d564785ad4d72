"""The page size of each worker: verified before it matters, adopted where the user stated none.

No reply ever tells the page size, and with a wrong one a worker answers slices with wrong bytes of the right length. So, once
per worker, before the first read from a file of several pages, page 0 of that file is asked for one byte *behind* its end.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from alluxio_arrow.errors import ConfigError, ShortReadError
from alluxio_arrow.ring import WorkerAddress
from alluxio_arrow.transport import Reply

__all__ = ["DEFAULT_PAGE_SIZE", "PageSizes"]

logger = logging.getLogger(__name__)

#: The servers' default of ``alluxio.worker.page.store.page.size``, in bytes.
DEFAULT_PAGE_SIZE = 1 << 20


class PageSizes:
    """Page sizes in bytes by worker.

    Parameters
    ----------
    stated
        What the user configured, or None: then whatever a worker has is adopted.
    """

    def __init__(self, stated: int | None) -> None:
        self._stated = stated
        #: What to expect of a worker that was not asked yet: most likely the same as of the last one.
        self._expected = stated or DEFAULT_PAGE_SIZE
        self._verified: dict[WorkerAddress, int] = {}
        self._lock = threading.Lock()

    def of(
        self, address: WorkerAddress, file_size: int, file_id: str, ask: Callable[[WorkerAddress, str], Reply | None]
    ) -> int | None:
        """Page size to plan with when reading a file of `file_size` bytes from the worker at `address`.

        Parameters
        ----------
        address
            The worker.
        file_size
            Bytes. A file of one page needs no verification: a smaller page shows in the length of the answer.
        file_id
            The worker's id of the file, whose page 0 is asked for.
        ask
            Sends a GET for a page target and gives the reply, None for a page that is not cached.

        Returns
        -------
        Bytes per page, or None when it cannot be told because page 0 is not cached: then nothing may be read from the worker.

        Raises
        ------
        ConfigError
            The worker's page size is not the one configured; the message names both.
        """
        known = self._verified.get(address)
        if known is not None:
            return known
        if file_size <= self._expected:
            return self._expected
        with self._lock:
            known = self._verified.get(address)
            return known if known is not None else self._verify(address, file_size, file_id, ask)

    def verify_again(
        self, address: WorkerAddress, file_size: int, file_id: str, ask: Callable[[WorkerAddress, str], Reply | None]
    ) -> int | None:
        """As `of`, but whatever was known of the worker is put in doubt: a page had an unexpected length."""
        with self._lock:
            self._verified.pop(address, None)
            return self._verify(address, file_size, file_id, ask)

    def peek(self, address: WorkerAddress) -> int:
        """The verified page size of the worker, or the one that is expected of it."""
        return self._verified.get(address, self._expected)

    def forget(self, address: WorkerAddress | None = None) -> None:
        """Verify the worker (or all) again before the next read: it may have been restarted with other settings."""
        if address is None:
            self._verified.clear()
        else:
            self._verified.pop(address, None)

    def _verify(
        self, address: WorkerAddress, file_size: int, file_id: str, ask: Callable[[WorkerAddress, str], Reply | None]
    ) -> int | None:
        page = f"/v1/file/{file_id}/page/"
        expected = self._expected
        try:
            reply = ask(address, f"{page}0?offset={expected}&length=1")
            if reply is not None and reply.status == 200 and not reply.body:
                self._verified[address] = expected
                return expected
            # The page is longer than expected (one byte came), or shorter, or not cached (no answer): its length tells.
            whole = ask(address, f"{page}0")
            if whole is None or whole.status != 200 or not whole.body:
                return None
            actual = len(whole.body)
            if actual == file_size:
                # The whole file is one page there. Any page size that holds the file gives the right bytes.
                if self._stated is not None and actual > self._stated:
                    raise self._mismatch(address, f"at least {actual}")
                return actual
            # Only a page with a successor is certainly a full one; a lone short page may be an older version of the file.
            successor = ask(address, f"{page}1?offset=0&length=1")
        except ShortReadError:
            return None
        if actual > file_size or successor is None or successor.status != 200:
            return None
        if self._stated is not None and actual != self._stated:
            raise self._mismatch(address, str(actual))
        logger.info("worker %s has pages of %d bytes", address, actual)
        self._verified[address] = self._expected = actual
        return actual

    def _mismatch(self, address: WorkerAddress, actual: str) -> ConfigError:
        return ConfigError(
            f"page size: {self._stated} bytes are configured (alluxio.worker.page.store.page.size or page_size), but worker "
            f"{address} has pages of {actual} bytes; set the workers' value, or leave it out to have it detected"
        )
