"""Load jobs over the wire, with the quirks that real clusters have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alluxio_arrow import AlluxioClient, LoadError, LoadState, ProtocolError
from alluxio_arrow.loads import decode_progress
from alluxio_arrow.testing import MiniCluster

RECORDED = {entry["name"]: entry for entry in json.loads((Path(__file__).parents[1] / "data" / "worker_http.json").read_text())}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    root = tmp_path_factory.mktemp("loads")
    for index in range(6):
        (root / f"{index}.bin").write_bytes(bytes(1000 + index))
    (root / "d=1").mkdir()
    (root / "d=1" / "x.bin").write_bytes(b"x")
    with MiniCluster(root, workers=2) as cluster:
        cluster.root = root
        yield cluster


@pytest.fixture
def client(own):
    return AlluxioClient(own.etcd_hosts, ufs_root=own.ufs_root)


def test_load_and_wait(own, client):
    reports = []
    final = client.load(str(own.root), timeout=60, progress=reports.append)
    assert (final.state, final.bytes_loaded, final.bytes_total) == (LoadState.SUCCEEDED, 6016, 6016)
    assert (final.files_failed, final.reason) == (0, "")
    assert reports[-1] == final
    fs = own.filesystem()
    with fs.open_input_file(str(own.root / "3.bin")) as file:
        assert file.read() == bytes(1003)
    assert fs.handler.stats().bytes_ufs == 0


def test_a_job_submitted_twice_and_stopped(own, client):
    own.jobs.delay_s = 0.3
    try:
        assert client.submit_load(str(own.root))
        assert client.submit_load(str(own.root)), "the same job runs already: answered by a close, and accepted"
        with pytest.raises(TimeoutError, match="goes on"):
            client.load(str(own.root), timeout=0)
        assert client.stop_load(str(own.root))
        assert client.load_progress(str(own.root)).state == LoadState.STOPPED
        assert not client.stop_load(str(own.root))
    finally:
        own.jobs.delay_s = 0.0
    assert client.load(str(own.root), timeout=60).state == LoadState.SUCCEEDED


def test_what_cannot_be_loaded(own, client):
    with pytest.raises(LoadError, match="NOT_FOUND"):
        client.submit_load(str(own.root / "missing"))
    assert client.load_progress(str(own.root / "never")).state == LoadState.UNKNOWN
    with pytest.raises(ValueError, match=f"nearest directory that can be loaded is '{own.ufs_root}'"):
        client.submit_load(str(own.root / "d=1" / "x.bin"))
    with pytest.raises(ValueError, match="bandwidth"):
        client.submit_load(str(own.root), bandwidth=0)
    with pytest.raises(ValueError, match="file_filter"):
        client.submit_load(str(own.root), file_filter="a b")


def test_a_filter_picks_files(own, client):
    for worker in own.workers:
        worker.evict()
    client.load(str(own.root), timeout=60, file_filter=r"[12]\.bin")
    cached = [
        index for index in range(6) if own.owner(str(own.root / f"{index}.bin")).cached_pages(f"{own.ufs_root}/{index}.bin")
    ]
    assert cached == [1, 2]


@pytest.mark.parametrize(
    ("name", "state", "loaded", "total", "scanned"),
    [
        ("load progress of an unknown job", LoadState.UNKNOWN, 0, None, 0),
        ("load progress early", LoadState.RUNNING, int(1464.86 * 1024), int(5.81 * 1024**2), 10),
        ("load progress at the end", LoadState.SUCCEEDED, int(5.81 * 1024**2), int(5.81 * 1024**2), 10),
        ("load progress verbose text", LoadState.SUCCEEDED, int(5.81 * 1024**2), int(5.81 * 1024**2), 10),
        ("load progress JSON format", LoadState.SUCCEEDED, 6097172, 6097172, 10),
    ],
)
def test_recorded_reports(name, state, loaded, total, scanned):
    report = decode_progress(RECORDED[name]["response"]["body"].encode(), "p")
    assert (report.state, report.bytes_loaded, report.bytes_total, report.files_scanned) == (state, loaded, total, scanned)


def test_failed_reports():
    text = "Progress for loading path 'p':\n\tJob State: FAILED (alluxio.exception.X: why)\n\tFiles Failed: 2\n"
    report = decode_progress(json.dumps({"jobState": "FAILED (alluxio.exception.X", "message": text}).encode(), "p")
    assert (report.state, report.files_failed, report.reason) == (LoadState.FAILED, 2, "alluxio.exception.X: why")
    for body in (b"", b"[]", b"{}"):
        with pytest.raises(ProtocolError):
            decode_progress(body, "p")
