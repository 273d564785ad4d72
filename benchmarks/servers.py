"""Starts what the clients talk to."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from clients.base import Target
from data import BUCKET, Catalog
from environments import BUILD, HERE

HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")
#: The port that alluxiofs 1.1 reads from, whatever it is told.
OBJECT_PORT = 29998


def build() -> None:
    """Compile the C programs when their sources are newer.

    Raises
    ------
    RuntimeError
        If there is no compiler, or it finds fault.
    """
    if not (shutil.which("cc") and shutil.which("make")):
        raise RuntimeError("the page server needs a C compiler: cc and make were not found")
    done = subprocess.run(["make", "-s", "-C", str(HERE)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the page server does not compile: {done.stderr.strip()}")


class Server(Protocol):
    """What the harness needs of a server, beside being a context manager."""

    target: Target

    def set_delay(self, delay_us: int) -> None:
        """Delay every answer by *delay_us* microseconds from now on."""

    def take_counts(self) -> dict[str, Any]:
        """Return what was asked for since the last call, and begin anew."""

    def cpu_s(self) -> float:
        """Return the processor seconds that the server has used."""


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class PageServer:
    """The C page server, for the length of a ``with`` block.

    Parameters
    ----------
    catalog : Catalog
        What it serves.
    page_size : int
        Bytes.
    other_edition : bool
        Whether it answers what alluxiofs 1.1 asks for (it then listens on port 29998 too).
    """

    def __init__(self, catalog: Catalog, *, page_size: int = 1 << 20, other_edition: bool = False) -> None:
        self._catalog = catalog
        self._page_size = page_size
        self._other_edition = other_edition

    def __enter__(self) -> PageServer:
        command = [str(BUILD / "page_server"), "--manifest", self._catalog.manifest, "--hosts", ",".join(HOSTS)]
        command += ["--page-size", str(self._page_size)]
        if self._other_edition:
            command += ["--node", "--object-port", str(OBJECT_PORT)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline().split()
        if not line:
            raise RuntimeError(f"the page server did not start (exit status {self._process.wait()})")
        self.target = Target(
            root=self._catalog.root,
            bucket=BUCKET,
            prefix=f"s3://{BUCKET}",
            hosts=HOSTS,
            port=int(line[1]),
            page_size=self._page_size,
            library=str(BUILD / "libpage_client.so"),
        )
        self._control = http.client.HTTPConnection(HOSTS[0], self.target.port)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._control.close()
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _ask(self, target: str) -> dict[str, Any]:
        self._control.request("GET", target)
        return json.loads(self._control.getresponse().read())  # type: ignore[no-any-return]

    def set_delay(self, delay_us: int) -> None:
        self._ask(f"/bench/delay?us={delay_us}")

    def take_counts(self) -> dict[str, Any]:
        return self._ask("/bench/stats?reset=1")

    def cpu_s(self) -> float:
        return _cpu_s(self._process.pid)


class EmbeddedCluster:
    """The project's embedded cluster with everything loaded, for the length of a ``with`` block.

    Its workers are Python: with them the server bounds the clock, and only the clients' processor time compares.

    Parameters
    ----------
    catalog : Catalog
        What it serves, as local files.
    page_size : int
        Bytes.
    """

    def __init__(self, catalog: Catalog, *, page_size: int = 1 << 20) -> None:
        from alluxio_arrow.testing import MiniCluster

        self._catalog = catalog
        self._page_size = page_size
        self._cluster = MiniCluster(catalog.root, page_size=page_size)
        self._before: dict[str, int] = {}

    def __enter__(self) -> EmbeddedCluster:
        self._cluster.__enter__()
        root = Path(self._catalog.root)
        self._cluster.load(str(root), timeout_s=600)
        names = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
        addresses = [worker.address for worker in self._cluster.workers]
        self.target = Target(
            root=str(root),
            bucket=BUCKET,
            prefix=f"file://{root}",
            hosts=tuple(addresses),
            port=0,
            page_size=self._page_size,
            library=str(BUILD / "libpage_client.so"),
            # Names in the listed directory are never read; "" is any worker, for metadata.
            owners={
                "": addresses[0],
                **{name: self._cluster.owner(name).address for name in names if not name.startswith("listing/")},
            },
            etcd=self._cluster.etcd_hosts,
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._cluster.__exit__(kind, error, trace)

    def set_delay(self, delay_us: int) -> None:
        if delay_us:
            raise ValueError("cases with a delay need the page server")

    def take_counts(self) -> dict[str, Any]:
        now = self._cluster.stats()
        counts = {name: value - self._before.get(name, 0) for name, value in now.items()}
        self._before = now
        requests = {"page": counts["file"], **{route: counts[route] for route in ("info", "files", "health")}}
        return {
            "requests": {**requests, "miss": counts["closed"]},
            "bytes": {"page": counts["bytes"]},
            "connections": counts["connections_accepted"],
            "files_asked": None,
            "most_page_requests_of_a_file": None,
        }

    def cpu_s(self) -> float:
        return sum(_cpu_s(worker.pid) for worker in self._cluster.workers if worker.pid)
