"""Load jobs over the wire, with the quirks that real clusters have."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from alluxio_arrow import AlluxioClient, LoadError, LoadState, ProtocolError
from alluxio_arrow.load_progress import decode_progress
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
    return AlluxioClient(own.etcd_hosts, target_protocol="file")


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


def test_a_job_that_ended_while_it_was_submitted_again(own, client):
    """A close says that it ran; the report that it is over. Then nothing runs, so it is submitted once more."""
    client.load(str(own.root), timeout=60)
    for worker in own.workers:
        worker.set_faults({"kind": "drop", "endpoint": "load", "count": 1})
    try:
        assert client.submit_load(str(own.root))
    finally:
        for worker in own.workers:
            worker.clear_faults()
    for report in client.watch_load(str(own.root)):
        assert report.state in (LoadState.RUNNING, LoadState.SUCCEEDED)


def test_what_cannot_be_loaded(own, client):
    with pytest.raises(LoadError, match="NOT_FOUND"):
        client.submit_load(str(own.root / "missing"))
    assert client.load_progress(str(own.root / "never")).state == LoadState.UNKNOWN
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


def test_what_the_master_could_not_be_asked_is_no_failed_job():
    body = {"jobState": "FAILED", "message": "Failed to get progress for load job p: UNAVAILABLE", "respProperties": {}}
    with pytest.raises(LoadError, match="UNAVAILABLE"):
        decode_progress(json.dumps(body).encode(), "p")


def test_numbers_that_are_not_there_yet():
    report = {"mJobState": "RUNNING", "mFailureFilesPercentage": "NaN", "mLoadedByteCount": 0, "mTimeElapsed": 90_061_000}
    body = {"message": "Progress for loading path 'p':\n" + json.dumps(report)}
    decoded = decode_progress(json.dumps(body).encode(), "p")
    assert (decoded.state, decoded.bytes_total, decoded.throughput, decoded.elapsed_s) == (
        LoadState.RUNNING,
        None,
        None,
        90_061,
    )
    text = "Progress for loading path 'p':\n\tTime Elapsed: 25:01:01\n\tJob State: RUNNING\n\tFile Failure rate: NaN%\n"
    # The reply's own fields are cut at colons: hours only.
    body = {"jobState": "RUNNING", "message": text, "respProperties": {"Time Elapsed": "25"}}
    assert decode_progress(json.dumps(body).encode(), "p").elapsed_s == 90_061


def test_as_users_of_alluxiofs_wrote_it(own, client):
    assert client.submit_load(str(own.root), verbose=True) is True
    assert client.load(str(own.root), 60, verbose=True)
    state, message = client.load_progress(str(own.root), verbose=True)
    assert state == LoadState.SUCCEEDED
    assert "Progress for loading" in message
    assert not client.load_progress(str(own.root / "never"))
    assert client.stop_load(str(own.root)) is False


# -- names that workers cannot be asked about --------------------------------------------------------------------------


@pytest.fixture
def hive(own, request):
    """``d=1`` of two partitions with files of their own names, beside little else."""
    root = own.root / request.node.name
    for day in (1, 2):
        for part in range(2):
            path = root / f"d={day}" / f"part {day}-{part}+[ä].bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(1000))
    return root


def cached(own, path):
    return own.owner(str(path)).cached_pages(f"file://{path}")


def test_a_file_is_loaded_through_its_directory_and_nothing_else_is(own, client, hive, caplog):
    wanted, other = (next((hive / f"d={day}").glob("*-0*")) for day in (1, 2))
    with caplog.at_level(logging.WARNING):
        final = client.load(str(wanted), timeout=60)
    assert final.path == f"file://{hive}"
    assert final.bytes_loaded == 1000
    assert f"through file://{hive}" in caplog.text
    assert cached(own, wanted) == [0]
    assert cached(own, other) == []
    assert client.load_progress(str(wanted)).state == LoadState.SUCCEEDED
    with pytest.raises(ValueError, match=re.escape(f"stop_load('file://{hive}')")):
        client.stop_load(str(wanted))


def test_a_partition_is_loaded_by_its_files_names(own, client, hive):
    final = client.load(str(hive / "d=2"), timeout=60)
    assert final.bytes_loaded == 2000
    assert [cached(own, path) for path in sorted(hive.rglob("*.bin"))] == [[], [], [0], [0]]


def test_what_would_load_much_more_is_refused(own, client, tmp_path_factory):
    root = own.root / "many"
    for day in range(5):
        (root / f"d={day}").mkdir(parents=True)
        (root / f"d={day}" / "part-0.bin").write_bytes(bytes(1000))
    wanted = str(root / "d=1")
    with pytest.raises(ValueError, match=r"nearest directory.*many'.*5,000 bytes instead of 1,000: through_parent=True"):
        client.submit_load(wanted)
    with pytest.raises(ValueError, match="nearest directory that can be loaded"):
        client.submit_load(wanted, through_parent=False)
    assert client.load(wanted, timeout=60, through_parent=True).bytes_loaded == 5000
    with pytest.raises((LoadError, ValueError), match="no such file"):
        client.submit_load(str(root / "d=9"))
    blind = AlluxioClient(own.etcd_hosts, ufs_root=own.ufs_root)
    with pytest.raises(ValueError, match="how much that is cannot be told"):
        blind.submit_load(wanted)


# -- waiting -----------------------------------------------------------------------------------------------------------


def test_reports_one_after_the_other(own, client):
    own.jobs.delay_s = 0.2
    try:
        client.submit_load(str(own.root))
        reports = list(client.watch_load(str(own.root), poll_s=0.02))
    finally:
        own.jobs.delay_s = 0.0
    assert len(reports) > 2
    assert [report.is_over for report in reports] == [False] * (len(reports) - 1) + [True]
    assert [report.bytes_loaded for report in reports] == sorted(report.bytes_loaded for report in reports)


def test_waiting_without_keeping_the_loop_busy(own, client):
    async def both():
        beats = 0

        async def beat():
            nonlocal beats
            while True:
                beats += 1
                await asyncio.sleep(0.005)

        heart = asyncio.create_task(beat())
        final = await client.load_async(str(own.root), 60, skip_if_exists=True)
        heart.cancel()
        return final, beats

    final, beats = asyncio.run(both())
    assert final.state == LoadState.SUCCEEDED
    assert beats > 2


def test_progress_to_whoever_wants_it(own, client, capsys):
    from fsspec.callbacks import Callback

    callback = Callback()
    final = client.load(str(own.root), 60, progress=callback)
    assert (callback.size, callback.value) == (final.bytes_total, final.bytes_loaded)
    assert client.load(str(own.root), 60, progress=True)
    assert capsys.readouterr().err == "", "nobody looks: no bar"
    with pytest.raises(TypeError, match="progress must be"):
        client.load(str(own.root), 60, progress=5)


def test_a_bar_on_a_terminal(own):
    import fcntl
    import pty
    import struct
    import termios

    script = "import sys; from alluxio_arrow import AlluxioClient; AlluxioClient(sys.argv[1], target_protocol='file').load(sys.argv[2], progress=True)"
    main, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen([sys.executable, "-c", script, own.etcd_hosts, str(own.root)], stderr=child)
    os.close(child)
    seen = b""
    reader = threading.Thread(target=lambda: process.wait(60))
    reader.start()
    while True:
        try:
            piece = os.read(main, 4096)
        except OSError:
            break
        if not piece:
            break
        seen += piece
    reader.join()
    os.close(main)
    assert process.returncode == 0
    assert b"100%" in seen


def test_giving_up_waiting_leaves_the_job_and_says_how_to_end_it(own):
    script = """
import sys
from alluxio_arrow import AlluxioClient
print("waiting", flush=True)
AlluxioClient(sys.argv[1], target_protocol="file").load(sys.argv[2], progress=lambda report: print(report.state.value, flush=True))
"""
    own.jobs.delay_s = 1.0
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", script, own.etcd_hosts, str(own.root)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while process.stdout.readline() != "RUNNING\n":
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
        assert f"stop_load('{own.root}') ends it" in told
        client = AlluxioClient(own.etcd_hosts, target_protocol="file")
        assert client.load_progress(str(own.root)).state == LoadState.RUNNING
        assert client.stop_load(str(own.root))
    finally:
        own.jobs.delay_s = 0.0
    assert client.load(str(own.root), 60)


def test_the_same_verbs_on_the_filesystem(own):
    for verbs in (own.filesystem().handler, own.fsspec_filesystem()):
        assert verbs.submit_load(str(own.root), skip_if_exists=True)
        assert verbs.load(str(own.root), 60)
        assert verbs.load_progress(str(own.root)).state == LoadState.SUCCEEDED
        assert verbs.stop_load(str(own.root)) is False
