"""An embedded worker: ``python -m alluxio_arrow.testing.worker``, configured by one line of JSON on standard input.

It answers as recorded answers of real workers do, registers in ETCD with a lease, and ends when its standard input does:
when the process that started it goes away. A second, private port takes orders: statistics, faults, pages to cache.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import threading
import time
import uuid
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import urllib3

from alluxio_arrow.paths import file_id
from alluxio_arrow.testing.faults import Fault, FaultBox
from alluxio_arrow.testing.gateway import EtcdGateway
from alluxio_arrow.testing.page_store import PageStore
from alluxio_arrow.testing.ufs_view import UfsView
from alluxio_arrow.testing.wire import MAX_BODY, Request, dump_json, parse_request, response_head, slice_page

__all__ = ["Worker"]

_MAX_HEAD = 64 << 10


class _CloseError(Exception):
    """The worker's only way to say no: close the connection."""


class Worker:
    """One worker: public port, private port, registration.

    Parameters
    ----------
    config
        ``identity`` (UUID text), ``http_port``, ``page_size``, ``page_directory``, ``page_capacity``, ``ufs_root``,
        ``ufs_options``, ``coordinator`` (URL), ``latency_s``, ``etcd`` (endpoint, username, password, or None),
        ``cluster_name``, ``lease_ttl_s``.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.pages = PageStore(config["page_directory"], config.get("page_capacity"))
        self.ufs = UfsView(config["ufs_root"], config.get("ufs_options"))
        self.faults = FaultBox()
        self.counts: Counter[str] = Counter()
        self._count_lock = threading.Lock()
        self._coordinator = urllib3.PoolManager(timeout=60.0, retries=False)
        self._listener = socket.create_server(("127.0.0.1", config.get("http_port") or 0), backlog=1024)
        self.http_port = int(self._listener.getsockname()[1])
        self._control = ThreadingHTTPServer(("127.0.0.1", 0), _control_handler(self))
        self._control.daemon_threads = True
        self.control_port = int(self._control.server_address[1])

    def start(self) -> None:
        """Serve and register; returns when both are under way."""
        threading.Thread(target=self._control.serve_forever, daemon=True).start()
        threading.Thread(target=self._accept, daemon=True).start()
        if self.config.get("etcd"):
            registered = threading.Event()
            threading.Thread(target=self._stay_registered, args=(registered,), daemon=True).start()
            registered.wait(30)

    # -- registration ------------------------------------------------------------------------------------------------------

    def registration(self) -> str:
        """The JSON under which a worker is found, field by field as real workers write it."""
        identifier = uuid.UUID(self.config["identity"])
        return json.dumps(
            {
                "Identity": {"version": 1, "identifier": identifier.hex},
                "WorkerNetAddress": {
                    "Host": "127.0.0.1",
                    "ContainerHost": "",
                    "RpcPort": 29999,
                    "DataPort": 29997,
                    "SecureRpcPort": 0,
                    "NettyDataPort": 29997,
                    "WebPort": 30000,
                    "DomainSocketPath": "",
                    "HttpServerPort": self.http_port,
                },
                "State": "AUTHORIZED",
                "GenerationNumber": -1,
                "ServiceEntityName": f"worker-{identifier}",
            },
            separators=(",", ":"),
        )

    def _stay_registered(self, registered: threading.Event) -> None:
        etcd, name, ttl_s = self.config["etcd"], f"worker-{self.config['identity']}", self.config["lease_ttl_s"]
        gateway = EtcdGateway(etcd["endpoint"], username=etcd.get("username"), password=etcd.get("password"))
        cluster, lease = self.config["cluster_name"], None
        while True:
            try:
                if lease is None:
                    lease = gateway.grant_lease(ttl_s)
                    gateway.put(f"/DHT/{cluster}/AUTHORIZED/{name}", self.registration())
                    gateway.put(f"/ServiceDiscovery/{cluster}/{name}", self.registration(), lease)
                    registered.set()
                elif not gateway.keep_alive(lease):
                    lease = None
                    continue
            except (OSError, urllib3.exceptions.HTTPError):
                pass  # ETCD is away; the next round tries again.
            time.sleep(ttl_s / 4)

    # -- the public port ---------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def count(self, **amounts: int) -> None:
        """Add to the statistics."""
        with self._count_lock:
            self.counts.update(amounts)
            self.counts["connections_peak"] = max(self.counts["connections_peak"], self.counts["connections"])

    def _converse(self, connection: socket.socket) -> None:
        self.count(connections=1, connections_accepted=1)
        received = b""
        try:
            with connection:
                while True:
                    while (end := received.find(b"\r\n\r\n")) < 0:
                        if len(received) > _MAX_HEAD or not (chunk := connection.recv(65536)):
                            return
                        received += chunk
                    request = parse_request(received[:end])
                    received = received[end + 4 :]
                    if request is None:
                        self.count(closed=1)
                        return
                    received = self._answer(connection, request, received)
                    if not request.keep_alive:
                        return
        except _CloseError:
            self.count(closed=1)
        except OSError:
            pass  # The client went away.
        finally:
            self.count(connections=-1)

    def _answer(self, connection: socket.socket, request: Request, received: bytes) -> bytes:
        """Answer one request; gives the bytes received beyond it."""
        self.count(**{request.endpoint if request.endpoint.isalpha() else "other": 1})
        fault = self.faults.take(request.endpoint)
        if fault is not None and fault.kind == "stall":
            time.sleep(fault.seconds)
        elif fault is not None and fault.kind == "drop":
            raise _CloseError
        elif fault is not None and fault.kind == "status":
            body = b'{"message":"injected fault"}'
            connection.sendall(response_head(fault.status, "application/json", len(body)) + body)
            return received
        elif fault is not None and fault.kind == "redirect":
            connection.sendall(
                b"HTTP/1.1 307 Redirect\r\nlocation: " + request.target.encode() + b"\r\ncontent-length: 0\r\n\r\n"
            )
            return received
        if self.config.get("latency_s"):
            time.sleep(self.config["latency_s"])
        if request.method == "GET":
            if request.endpoint == "file":
                self._send_page(connection, request, fault)
            else:
                content_type, body = self._document(request)
                self._send(connection, request, 200, content_type, body)
            return received
        return self._store_page(connection, request, received)

    def _send(self, connection: socket.socket, request: Request, status: int, content_type: str | None, body: bytes) -> None:
        keep = None if request.keep_alive and request.version == "HTTP/1.1" else "keep-alive" if request.keep_alive else "close"
        head = response_head(status, content_type, len(body), version=request.version, connection=keep)
        self.count(bytes=len(body))
        connection.sendall(head + body)

    def _page_key(self, request: Request) -> tuple[str, int]:
        try:
            identifier, _, index = request.fields[:3]
            return identifier, int(index)
        except ValueError:
            raise _CloseError from None

    def _send_page(self, connection: socket.socket, request: Request, fault: Fault | None) -> None:
        opened = self.pages.open(*self._page_key(request))
        if opened is None:
            self.count(page_misses=1)
            raise _CloseError
        file, size = opened
        with file:
            part = slice_page(request.query, size)
            if part is None:
                raise _CloseError
            if fault is not None and fault.kind != "stall":
                file.seek(part.offset)
                self._misbehave(connection, file.read(part.length), fault)
                return
            keep = (
                None
                if request.keep_alive and request.version == "HTTP/1.1"
                else "keep-alive"
                if request.keep_alive
                else "close"
            )
            head = response_head(200, "text/plain", part.length, version=request.version, connection=keep)
            connection.sendall(head, socket.MSG_MORE if part.length else 0)
            offset, end = part.offset, part.offset + part.length
            while offset < end:
                offset += os.sendfile(connection.fileno(), file.fileno(), offset, end - offset)
            self.count(pages=1, bytes=part.length)

    def _misbehave(self, connection: socket.socket, body: bytes, fault: Fault) -> None:
        if fault.kind == "wrong_length":
            connection.sendall(response_head(200, "text/plain", len(body) + 1) + body + b"!")
        elif fault.kind == "chunked":
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
            connection.sendall(head + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n")
        elif fault.kind == "slow":
            connection.sendall(response_head(200, "text/plain", len(body)))
            step = max(1, fault.bytes_per_s // 50)
            for start in range(0, len(body), step):
                connection.sendall(body[start : start + step])
                time.sleep(0.02)
        else:
            connection.sendall(response_head(200, "text/plain", len(body)) + body[: len(body) // 2])
            if fault.kind == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise _CloseError

    def _document(self, request: Request) -> tuple[str, bytes]:
        if request.endpoint == "health":
            return "text/plain", b"worker is active"
        path = request.query.get("path")
        if path is None or request.endpoint not in ("files", "info", "load"):
            raise _CloseError
        if request.endpoint == "load":
            return "text/plain", self._forward_load(request)
        full = self.ufs.resolve(path)
        if full is None:
            raise _CloseError
        if request.endpoint == "files":
            return "application/json", dump_json(self.ufs.listing(full))
        status = self.ufs.status(full)
        if status is None:
            raise _CloseError
        return "application/json", dump_json([status])

    def _forward_load(self, request: Request) -> bytes:
        try:
            answer = self._coordinator.request("POST", f"{self.config['coordinator']}/load", body=json.dumps(request.query))
        except urllib3.exceptions.HTTPError:
            raise _CloseError from None
        if answer.status != 200:
            raise _CloseError
        return bytes(answer.data)

    def _store_page(self, connection: socket.socket, request: Request, received: bytes) -> bytes:
        if request.endpoint != "file":
            raise _CloseError
        key = self._page_key(request)
        length = int(request.headers.get("content-length", "0"))
        if length > MAX_BODY:
            self._send(connection, request, 413, None, b"")
            if "expect" in request.headers:
                return received
        elif "expect" in request.headers:
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        while len(received) < length:
            chunk = connection.recv(65536)
            if not chunk:
                raise _CloseError
            received += chunk
        body, rest = received[:length], received[length:]
        if length <= MAX_BODY:
            is_stored = bool(body) or key[1] == 0
            if is_stored:
                self.pages.put(*key, body)
            message = "Page written successfully" if is_stored else "Failed to write page"
            self._send(connection, request, 200, "application/json", dump_json({"success": is_stored, "message": message}))
        return rest

    # -- orders ------------------------------------------------------------------------------------------------------------

    def obey(self, order: str, body: dict[str, Any]) -> Any:
        """Carry out an order of the private port."""
        if order == "stats":
            with self._count_lock:
                return dict(self.counts)
        if order == "faults":
            self.faults.replace(body["faults"])
        elif order == "evict":
            self.pages.evict(body.get("file_id"), body.get("index"))
        elif order == "cached":
            return self.pages.indexes(body["file_id"])
        elif order == "refresh":
            self.ufs.refresh(body["path"])
        elif order == "cache":
            return self._cache(body["path"], skip_if_exists=body.get("skip_if_exists", False))
        else:
            raise ValueError(f"unknown order {order}")
        return None

    def _cache(self, path: str, *, skip_if_exists: bool) -> int:
        """Bring all pages of a file in, as a load job does; gives the bytes read."""
        status = self.ufs.refresh(path)
        if status is None:
            raise FileNotFoundError(path)
        identifier, size, page_size = file_id(path), status["mLength"], self.config["page_size"]
        count = -(-size // page_size)
        if skip_if_exists and self.pages.indexes(identifier) == list(range(count)):
            return 0
        self.pages.evict(identifier)
        with self.ufs.fs.open(self.ufs.own(path), "rb") as file:
            for index in range(count):
                self.pages.put(identifier, index, file.read(page_size))
        return int(size)


def _control_handler(worker: Worker) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("content-length", "0"))) or b"{}")
            try:
                status, answer = 200, worker.obey(self.path.strip("/"), body)
            except Exception as error:  # noqa: BLE001 - told to whoever gave the order
                status, answer = 500, f"{type(error).__name__}: {error}"
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler


def main() -> None:
    """Serve until standard input ends."""
    worker = Worker(json.loads(sys.stdin.readline()))
    worker.start()
    sys.stdout.write(json.dumps({"http_port": worker.http_port, "control_port": worker.control_port}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
