"""What users of alluxiofs met, shown right here (docs/migrating.md lists it)."""

from __future__ import annotations

import logging
import os
import random
import subprocess
import sys

import pytest

from alluxio_arrow import AlluxioClient, AlluxioError, AlluxioFileSystem, ConfigError
from alluxio_arrow.testing import MiniCluster


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    root = tmp_path_factory.mktemp("moving")
    (root / "hot").mkdir()
    (root / "hot/file.bin").write_bytes(random.Random(4).randbytes(300_000))
    (root / "cold.bin").write_bytes(b"cold" * 1000)
    with MiniCluster(root, workers=2) as cluster:
        cluster.root = root
        cluster.load(str(root / "hot"))
        yield cluster


def test_options_are_obeyed_and_misspelt_ones_refused(own):
    """There, `options` were read from a place that nothing filled, and unknown keywords vanished."""
    for make in (AlluxioFileSystem, AlluxioClient):
        made = make(own.etcd_hosts, options={"alluxio.worker.page.store.page.size": "64KB"}, target_protocol="file")
        settings = made.handler.settings if isinstance(made, AlluxioFileSystem) else made.client.settings
        assert settings.page_size == 65_536
        with pytest.raises(ConfigError, match=r"alluxio\.worker\.page\.store\.page\.size"):
            make(own.etcd_hosts, options={"alluxio.worker.page.store.page.sise": "64KB"})
        with pytest.raises(ConfigError, match="target_protocol"):
            make(own.etcd_hosts, target_protocoll="file")


def test_ports_of_worker_hosts_count(own):
    """There, ``h1:28081`` was called at ``h1:28081:28080``, and two workers on one host became one."""
    path, content = str(own.root / "hot/file.bin"), (own.root / "hot/file.bin").read_bytes()
    both = AlluxioFileSystem(worker_hosts=",".join(worker.address for worker in own.workers), target_protocol="file")
    assert both.cat_file(path) == content
    assert both.handler.stats().workers == 2
    # The file is cached by one of the two: whoever asks each alone reaches both, by their ports.
    alone = [AlluxioFileSystem(worker_hosts=worker.address, target_protocol="file") for worker in own.workers]
    assert all(fs.cat_file(path) == content for fs in alone)
    assert sorted(fs.handler.stats().bytes_cache for fs in alone) == [0, len(content)]


def test_the_body_of_an_error_is_never_data(own):
    """There, a road gave the text of a 404 as the file's content."""
    path = str(own.root / "hot/file.bin")
    for status in (404, 500, 403):
        for worker in own.workers:
            worker.set_faults({"kind": "status", "status": status, "endpoint": "file"})
        try:
            fs = own.fsspec_filesystem(metadata_ttl_s=2000 + status)
            assert fs.cat_file(path) == (own.root / "hot/file.bin").read_bytes()
            assert fs.handler.stats().bytes_cache == 0
            with pytest.raises(OSError):
                own.fsspec_filesystem(metadata_ttl_s=3000 + status, ufs=False).cat_file(path)
        finally:
            for worker in own.workers:
                worker.clear_faults()


def test_errors_are_of_builtin_kinds_and_tell_what_was_tried(own):
    """There, they were bare ``Exception``, and a refused connection an ``UnboundLocalError``."""
    fs = own.fsspec_filesystem(ufs=False)
    with pytest.raises(OSError, match=r"127\.0\.0\.1:\d+.*submit_load") as caught:
        fs.cat_file(str(own.root / "cold.bin"))
    assert isinstance(caught.value, AlluxioError)
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:1"):
        AlluxioFileSystem(worker_hosts="127.0.0.1:1", ufs_root="file:///").info("/x")
    with pytest.raises(FileNotFoundError):
        own.fsspec_filesystem().open(str(own.root / "missing"))


def test_no_log_files_and_no_handlers(own, tmp_path):
    """There, every filesystem made ``logs/user.log`` and two handlers, and importing replaced builtins."""
    script = """
import builtins, logging, os, sys
before = builtins.open, os.stat, os.listdir
from alluxio_arrow import AlluxioFileSystem
for window in (3, 4):
    AlluxioFileSystem(sys.argv[1], target_protocol="file", window=window).cat_file(sys.argv[2])
assert (builtins.open, os.stat, os.listdir) == before
assert logging.getLogger().handlers == []
assert [type(handler).__name__ for handler in logging.getLogger("alluxio_arrow").handlers] == ["NullHandler"]
"""
    command = [sys.executable, "-c", script, own.etcd_hosts, str(own.root / "hot/file.bin")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert os.listdir(tmp_path) == []


def test_secrets_stay_out_of_the_log(own, caplog):
    """There, whole argument lists were logged."""
    with caplog.at_level(logging.DEBUG):
        fs = AlluxioFileSystem(own.etcd_hosts, target_protocol="file", target_options={"auto_mkdir": False, "token": "s3cret"})
        fs.cat_file(str(own.root / "hot/file.bin"))
        repr(fs)
    assert "s3cret" not in caplog.text + repr(fs)


def test_a_worker_is_the_same_in_every_process(own):
    """There, a later version chose workers by Python's salted ``hash``."""
    script = """
import sys
from alluxio_arrow import AlluxioFileSystem
client = AlluxioFileSystem(sys.argv[1], target_protocol="file").handler.client
print([str(client.candidates(f"file:///x/{number}")[0]) for number in range(50)])
"""
    said = set()
    for seed in ("1", "2"):
        command = [sys.executable, "-c", script, own.etcd_hosts]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONHASHSEED": seed})
        assert done.returncode == 0, done.stderr
        said.add(done.stdout)
    assert len(said) == 1


def test_an_operation_costs_no_request_beside_its_own(own):
    """There, each one first asked a worker whether it lives."""
    fs = own.fsspec_filesystem(metadata_ttl_s=4000)
    path = str(own.root / "hot/file.bin")
    fs.cat_file(path)
    before = own.stats()
    fs.cat_file(path, 5, 10)
    after = own.stats()
    assert {name: after[name] - before[name] for name in ("file", "info", "files", "health", "load")} == {
        "file": 1,
        "info": 0,
        "files": 0,
        "health": 0,
        "load": 0,
    }
