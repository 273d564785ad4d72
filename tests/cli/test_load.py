"""Load jobs from the command line: submit, wait, follow, stop, and what Ctrl-C does."""

from __future__ import annotations

import signal

import pytest

from alluxio_arrow.cli.jobs import progress_line
from alluxio_arrow.loads import LoadProgress, LoadState
from alluxio_arrow.testing import MiniCluster

from .conftest import connection


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    root = tmp_path_factory.mktemp("loads")
    for index in range(6):
        (root / f"{index}.bin").write_bytes(bytes(1000 + index))
    with MiniCluster(root, workers=2) as cluster:
        cluster.root = root
        yield cluster


@pytest.fixture
def run(run, own, monkeypatch):
    for name, value in connection(own).items():
        monkeypatch.setenv(name, value)
    return run


@pytest.fixture
def slow(own):
    """Jobs that take their time; at the end they are let go on."""
    own.jobs.delay_s = 2.0
    yield
    own.jobs.delay_s = 0.0
    # A stopped job's threads wait to be resumed, and the interpreter for them.
    while own.jobs.answer({"path": own.ufs_root, "opType": "progress"})["jobState"] != "SUCCEEDED":
        own.jobs.answer({"path": own.ufs_root, "opType": "submit"})


def test_load_and_wait(run, own):
    shown = run("load", "--wait", own.root, "--json")
    assert shown.code == 0
    report = shown.json[0]
    assert (report["state"], report["bytes_loaded"], report["bytes_total"]) == ("SUCCEEDED", 6015, 6015)
    assert shown.err == "", "no progress bar where there is no terminal"
    assert {entry["state"] for entry in run("where", own.root, "--json").json} == {"cached"}
    table = run("load", "--wait", own.root).out
    assert "succeeded" in table
    assert "5.9 KiB" in table
    assert run("progress", own.root).code == 0
    assert run("progress", own.root, "--json").json[0]["state"] == "SUCCEEDED"


def test_a_filter(run, own):
    for worker in own.workers:
        worker.evict()
    assert run("load", "--wait", own.root, "--filter", r"[12]\.bin").code == 0
    cached = [entry["path"][-5:] for entry in run("where", own.root, "--json").json if entry["state"] == "cached"]
    assert cached == ["1.bin", "2.bin"]


def test_load_without_waiting_and_stop(run, own, slow):
    shown = run("load", own.root, "--json")
    assert (shown.code, shown.json) == (0, [{"path": str(own.root), "submitted": True}])
    running = run("progress", own.root)
    assert running.code == 0
    assert "running" in running.out
    shown = run(
        "--replicas",
        "2",
        "load",
        "--wait",
        "--timeout",
        "0",
        own.root,
        "--no-trust-listings",
        "--target-option",
        "auto_mkdir=false",
    )
    assert shown.code == 1
    assert f"To stop it: alluxio-arrow stop --replicas 2 --no-trust-listings {own.root}" in shown.err, "as it was connected"
    assert run("stop", own.root).out == f"stopped: {own.root}\n"
    again = run("stop", own.root, "--json")
    assert (again.code, again.json) == (3, [{"path": str(own.root), "stopped": False}])


def test_what_cannot_be_loaded(run, own):
    missing = run("load", own.root / "missing")
    assert missing.code == 1
    assert "NOT_FOUND" in missing.err
    unknown = run("progress", own.root / "never")
    assert unknown.code == 3
    assert "knows no load job" in unknown.err
    assert run("load", own.root / "a=1" / "b").code == 2
    assert run("load", own.root, "--bandwidth", "fast").code == 2


def test_control_c_ends_the_waiting_and_not_the_job(own, slow, start):
    program = start("load", "--wait", own.root, "--debug", env=connection(own))
    # From here on it has sent its request, and waits for an answer or for the end.
    wait_for_job(own)
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=60)
    assert program.returncode == 130
    assert out == b""
    assert f"To stop it: alluxio-arrow stop {own.root}".encode() in err
    assert b"Traceback" not in err
    state = own.jobs.answer({"path": own.ufs_root, "opType": "progress"})["jobState"]
    assert state in ("RUNNING", "SUCCEEDED")


def wait_for_job(own):
    """Return when the job runs."""
    while True:
        answer = own.jobs.answer({"path": own.ufs_root, "opType": "progress"})
        if answer["jobState"] == "RUNNING":
            return


def test_the_bar():
    report = LoadProgress("s3://b/x", LoadState.RUNNING, 512 << 20, 1 << 30, 10, 5, 0, 64 << 20, 8.0)
    line = progress_line("b/x", report, bar=10)
    assert line == "[#####.....]  50%  512 MiB of 1.0 GiB  64 MiB/s  8.0 s left  b/x"
    unknown = LoadProgress("s3://b/x", LoadState.RUNNING, 1024, None, 10, 5)
    assert progress_line("b/x", unknown) == "1.0 KiB loaded, 5 of 10 files  b/x"
