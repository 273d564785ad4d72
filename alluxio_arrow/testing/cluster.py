"""The embedded cluster: a real ETCD, workers in processes of their own, and load jobs that load."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import urllib3

from alluxio_arrow.paths import canonical_ufs_path, file_id
from alluxio_arrow.properties import parse_size
from alluxio_arrow.ring import HashRing, WorkerIdentity
from alluxio_arrow.testing.etcd import Etcd
from alluxio_arrow.testing.load_jobs import LoadJobs
from alluxio_arrow.testing.ufs_view import UfsView
from alluxio_arrow.testing.wire import dump_json

if TYPE_CHECKING:
    from pyarrow.fs import PyFileSystem

    from alluxio_arrow.fsspec import AlluxioFileSystem

__all__ = ["MiniCluster", "MiniWorker"]

_START_TIMEOUT_S = 60.0


class MiniWorker:
    """One worker of a `MiniCluster`.

    Attributes
    ----------
    identity
        Who it is on the ring; stays the same when it is restarted.
    http_port
        Where it serves; stays the same when it is restarted.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self.identity = WorkerIdentity(1, uuid.UUID(config["identity"]).bytes)
        self.http_port = 0
        self._control_port = 0
        self._process: subprocess.Popen[str] | None = None
        self._http = urllib3.PoolManager(maxsize=16, timeout=120.0, retries=False)

    @property
    def address(self) -> str:
        """``127.0.0.1:port``."""
        return f"127.0.0.1:{self.http_port}"

    @property
    def pid(self) -> int | None:
        """Process id, or None while it does not run."""
        return self._process.pid if self._process is not None else None

    def launch(self) -> None:
        """Start the process; `wait_ready` tells when it serves."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "alluxio_arrow.testing.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        stdin = self._process.stdin
        if stdin is not None:
            stdin.write(json.dumps({**self._config, "http_port": self.http_port}) + "\n")
            stdin.flush()

    def wait_ready(self) -> None:
        """Wait until it serves and has registered."""
        process = self._process
        line = process.stdout.readline() if process is not None and process.stdout is not None else ""
        if not line:
            raise RuntimeError("an embedded worker did not start; its errors stand above")
        ports = json.loads(line)
        self.http_port, self._control_port = ports["http_port"], ports["control_port"]

    def restart(self) -> None:
        """Kill it if it runs, and start it again: same identity, same port, same pages."""
        self.kill()
        self.launch()
        self.wait_ready()

    def kill(self) -> None:
        """End the process at once. Its registration stays until the lease runs out."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def pause(self) -> None:
        """Stop the process by a signal: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._process is None:
            raise RuntimeError("the worker does not run")
        self._process.send_signal(number)

    def order(self, name: str, **body: Any) -> Any:
        """Give an order at the private port."""
        url = f"http://127.0.0.1:{self._control_port}/{name}"
        answer = self._http.request("POST", url, body=json.dumps(body))
        value = json.loads(answer.data)
        if answer.status != 200:
            raise RuntimeError(f"the worker could not {name}: {value}")
        return value

    def stats(self) -> dict[str, int]:
        """Counts since it started.

        Requests by endpoint (``file`` are pages), ``pages`` and ``bytes`` served, ``page_misses``, requests ``closed`` on,
        ``connections`` open now, their peak, and all accepted.
        """
        counts = dict.fromkeys(
            ("file", "info", "files", "load", "health", "pages", "bytes", "page_misses", "closed", "connections"), 0
        )
        return {**counts, "connections_peak": 0, "connections_accepted": 0, **self.order("stats")}

    def set_faults(self, *faults: dict[str, Any]) -> None:
        """Switch on exactly these faults; see `alluxio_arrow.testing.faults.Fault` for their keys."""
        self.order("faults", faults=list(faults))

    def clear_faults(self) -> None:
        """Switch all faults off."""
        self.set_faults()

    def evict(self, path: str | None = None, page_index: int | None = None) -> None:
        """Drop a page, all pages of a canonical path, or everything."""
        self.order("evict", file_id=None if path is None else file_id(path), index=page_index)

    def cached_pages(self, path: str) -> list[int]:
        """Indexes of the pages of a canonical path that it holds."""
        return list(self.order("cached", file_id=file_id(path)))


class MiniCluster:
    """An Alluxio cluster on this machine, for tests and trials; a context manager.

    Workers answer as recorded answers of real ones do: they never fill their cache on a read, close the connection on what they
    cannot serve, and keep metadata for ever. They register in a real ETCD with leases.

    Parameters
    ----------
    ufs_root
        Local directory or fsspec URL that the cluster serves.
    workers
        How many, at least 1.
    page_size
        Bytes, or a size such as ``"1MB"``; or one for each worker.
    ufs_options
        Keyword arguments of the under store's fsspec filesystem.
    page_store_capacity
        Bytes of pages that a worker keeps; None: no limit.
    latency_s
        Seconds that every answer takes longer.
    lease_ttl_s
        Seconds after which a killed worker is gone from ETCD; ETCD allows no less than 2.
    virtual_nodes, cluster_name
        As on a real cluster.
    username, password
        Turns ETCD's authentication on.
    load_delay_s
        Seconds that every file of a load job takes longer.
    """

    def __init__(
        self,
        ufs_root: str | Path,
        workers: int = 3,
        page_size: str | int | Sequence[str | int] = "1MB",
        ufs_options: dict[str, Any] | None = None,
        *,
        page_store_capacity: int | None = None,
        latency_s: float = 0.0,
        lease_ttl_s: int = 2,
        virtual_nodes: int = 5,
        cluster_name: str = "DefaultAlluxioCluster",
        username: str | None = None,
        password: str | None = None,
        load_delay_s: float = 0.0,
    ) -> None:
        root = str(ufs_root)
        self.ufs_root = canonical_ufs_path(root if "://" in root else f"file://{Path(root).absolute()}")
        self.ufs_options = dict(ufs_options or {})
        sizes = [page_size] * workers if isinstance(page_size, (str, int)) else list(page_size)
        self._page_sizes = [parse_size(size) if isinstance(size, str) else size for size in sizes]
        if len(self._page_sizes) != workers or workers < 1:
            raise ValueError(f"{len(self._page_sizes)} page sizes for {workers} workers; at least one worker is needed")
        self._virtual_nodes = virtual_nodes
        self._worker_config = {
            "page_capacity": page_store_capacity,
            "ufs_root": self.ufs_root,
            "ufs_options": self.ufs_options,
            "latency_s": latency_s,
            "cluster_name": cluster_name,
            "lease_ttl_s": lease_ttl_s,
        }
        self._cluster_name = cluster_name
        self._credentials = {"username": username, "password": password}
        self._ufs = UfsView(self.ufs_root, self.ufs_options)
        self.jobs = LoadJobs(self._ufs, self._cache_file, delay_s=load_delay_s)
        self.etcd = Etcd(username=username, password=password)
        self.workers: list[MiniWorker] = []
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._coordinator: ThreadingHTTPServer | None = None

    @property
    def etcd_hosts(self) -> str:
        """``host:port`` of the cluster's ETCD."""
        return self.etcd.endpoint

    def __enter__(self) -> MiniCluster:
        self._directory = tempfile.TemporaryDirectory(prefix="alluxio-arrow-pages-")
        try:
            self.etcd.__enter__()
            self._coordinator = ThreadingHTTPServer(("127.0.0.1", 0), _coordinator_handler(self.jobs))
            self._coordinator.daemon_threads = True
            threading.Thread(target=self._coordinator.serve_forever, daemon=True).start()
            started = [self._make_worker(size) for size in self._page_sizes]
            self.workers += started
            for worker in started:
                worker.launch()
            for worker in started:
                worker.wait_ready()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for worker in self.workers:
            worker.kill()
        if self._coordinator is not None:
            self._coordinator.shutdown()
            self._coordinator.server_close()
        self.etcd.__exit__(None, None, None)
        if self._directory is not None:
            self._directory.cleanup()

    def _make_worker(self, page_size: int) -> MiniWorker:
        if self._directory is None or self._coordinator is None:
            raise RuntimeError("use MiniCluster in a with block")
        identity = str(uuid.uuid4())
        return MiniWorker(
            {
                **self._worker_config,
                "identity": identity,
                "page_size": page_size,
                "page_directory": f"{self._directory.name}/{identity}",
                "coordinator": f"http://127.0.0.1:{self._coordinator.server_address[1]}",
                "etcd": {"endpoint": self.etcd.endpoint, **self._credentials},
            }
        )

    def add_worker(self) -> MiniWorker:
        """Start one more worker; the ring changes with it."""
        worker = self._make_worker(self._page_sizes[-1])
        worker.launch()
        worker.wait_ready()
        self.workers.append(worker)
        return worker

    def canonical(self, path: str) -> str:
        """The canonical path of `path`: a full URI, or a path below `ufs_root`'s store, or one relative to `ufs_root`."""
        if "://" in path:
            return canonical_ufs_path(path)
        scheme, _, rest = self.ufs_root.partition("://")
        if scheme == "file":
            return canonical_ufs_path(f"file://{path}" if path.startswith("/") else f"{self.ufs_root}/{path}")
        bucket = rest.partition("/")[0]
        return canonical_ufs_path(f"{scheme}://{path}" if path.startswith(bucket) else f"{self.ufs_root}/{path}")

    def owner(self, path: str) -> MiniWorker:
        """The worker that the ring of all live workers gives for `path`."""
        return self._owner(self.canonical(path))

    def _owner(self, canonical: str) -> MiniWorker:
        live = {worker.identity: worker for worker in self.workers if worker.pid is not None}
        # Registrations are listed by key, which is by identity.
        ring = HashRing(sorted(live, key=str), self._virtual_nodes)
        return live[ring.candidates(canonical)[0]]

    def _cache_file(self, canonical: str, *, skip_if_exists: bool) -> int:
        for worker in self.workers:
            if worker.pid is not None:
                worker.order("refresh", path=canonical)
        return int(self._owner(canonical).order("cache", path=canonical, skip_if_exists=skip_if_exists))

    def load(self, path: str, timeout_s: float = 120.0) -> None:
        """Load a file, or everything below a directory, by a load job, and wait for its end.

        A name that real workers cannot be asked for is handed to the job behind the wire, so that tests can have it cached.

        Raises
        ------
        RuntimeError
            The job was refused or failed.
        TimeoutError
            It did not end in time.
        """
        canonical = self.canonical(path)
        answer = self.jobs.answer({"path": canonical, "opType": "submit"})
        if answer is not None and not answer["success"]:
            raise RuntimeError(answer["message"])
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            progress = self.jobs.answer({"path": canonical, "opType": "progress"})
            if progress is not None and progress["jobState"] == "SUCCEEDED":
                return
            if progress is not None and progress["jobState"].startswith("FAILED"):
                raise RuntimeError(progress["message"])
            time.sleep(0.005)
        raise TimeoutError(f"loading {path} took longer than {timeout_s:g} s")

    def filesystem(self, *, ufs: bool = True, **settings: Any) -> PyFileSystem:
        """`alluxio_arrow.filesystem` for this cluster, with its under store unless `ufs` is false or another is given."""
        from alluxio_arrow.handler import filesystem

        return filesystem(**self.settings(ufs=ufs, **settings))

    def fsspec_filesystem(self, *, ufs: bool = True, **settings: Any) -> AlluxioFileSystem:
        """`alluxio_arrow.AlluxioFileSystem` for this cluster, as `filesystem` makes the pyarrow one."""
        from alluxio_arrow.fsspec import AlluxioFileSystem

        made: AlluxioFileSystem = AlluxioFileSystem(**self.settings(ufs=ufs, **settings))
        return made

    def settings(self, *, ufs: bool = True, **settings: Any) -> dict[str, Any]:
        """The arguments that `filesystem` passes on."""
        arguments: dict[str, Any] = {"cluster_name": self._cluster_name, "virtual_nodes": self._virtual_nodes}
        if "worker_hosts" not in settings:
            arguments["etcd_hosts"] = self.etcd_hosts
            if self._credentials["username"] is not None:
                arguments |= {f"etcd_{name}": value for name, value in self._credentials.items()}
        if ufs and "fs" not in settings and "target_protocol" not in settings:
            arguments["target_protocol"] = self.ufs_root.partition("://")[0]
            if self.ufs_options:
                arguments["target_options"] = self.ufs_options
        elif not ufs and "fs" not in settings:
            # Without an under store the paths' scheme is known by the root.
            arguments["ufs_root"] = self.ufs_root
        return {**arguments, **settings}

    def stats(self) -> dict[str, int]:
        """The sums of all running workers' `MiniWorker.stats` (of the peak: the largest)."""
        total: dict[str, int] = {}
        for worker in self.workers:
            for name, value in worker.stats().items() if worker.pid is not None else ():
                total[name] = max(total.get(name, 0), value) if name.endswith("peak") else total.get(name, 0) + value
        return total

    def url(self, path: str, route: str = "info") -> str:
        """The URL by which the first worker is asked for `path`, for trying things by hand."""
        return f"http://{self.workers[0].address}/v1/{route}?path={quote(self.canonical(path), safe=':/')}"


def _coordinator_handler(jobs: LoadJobs) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers.get("content-length", "0"))))
            answer = jobs.answer(query)
            data = b"" if answer is None else dump_json(answer)
            self.send_response(204 if answer is None else 200)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler
