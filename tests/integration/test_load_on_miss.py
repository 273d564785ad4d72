"""`on_miss="load"`: what was missed once is cached soon after."""

from __future__ import annotations

import time

import pytest

from alluxio_arrow.load_on_miss import LoadOnMiss
from alluxio_arrow.testing import MiniCluster


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    root = tmp_path_factory.mktemp("missed")
    (root / "d=1").mkdir()
    for name in ("a.bin", "b.bin", "c.bin", "d=1/x.bin"):
        (root / name).write_bytes(name.encode() * 1000)
    with MiniCluster(root, workers=2) as cluster:
        cluster.root = root
        yield cluster


def read(fs, path):
    with fs.open_input_file(str(path)) as file:
        return file.read()


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_miss_is_loaded_once(own):
    fs = own.filesystem(on_miss="load")
    path = own.root / "a.bin"
    for _ in range(3):
        assert read(fs, path) == path.read_bytes()
    wait_for(lambda: own.owner(str(path)).cached_pages(f"file://{path}") == [0])
    assert fs.handler.stats().bytes_ufs > 0
    fresh = own.filesystem(on_miss="load")
    assert read(fresh, path) == path.read_bytes()
    assert fresh.handler.stats().bytes_ufs == 0
    wait_for(lambda: fs.handler.stats().loads_submitted == 1)
    assert fresh.handler.stats().loads_submitted == 0


def test_without_it_nothing_is_loaded(own):
    fs = own.filesystem()
    read(fs, own.root / "b.bin")
    assert fs.handler.stats().loads_submitted == 0
    assert own.owner(str(own.root / "b.bin")).cached_pages(f"file://{own.root}/b.bin") == []


def test_names_that_cannot_be_sent_are_only_read(own):
    fs = own.filesystem(on_miss="load")
    path = own.root / "d=1" / "x.bin"
    assert read(fs, path) == path.read_bytes()
    assert fs.handler.stats().loads_submitted == 0


def test_reading_does_not_fail_with_the_load(own):
    fs = own.filesystem(on_miss="load")
    path = own.root / "c.bin"
    for worker in own.workers:
        worker.set_faults({"kind": "drop", "endpoint": "load"})
    try:
        assert read(fs, path) == path.read_bytes()
    finally:
        for worker in own.workers:
            worker.clear_faults()


def test_once_a_while_and_not_too_many():
    now = [0.0]
    policy = LoadOnMiss(lambda: now[0])
    assert [policy.wants("a"), policy.wants("a"), policy.wants("b")] == [True, False, True]
    policy.refused("b")
    assert policy.wants("b")
    assert sum(policy.wants(f"file {index}") for index in range(100)) == 57, "60 at once, three were taken"
    now[0] += 10
    assert sum(policy.wants(f"late {index}") for index in range(100)) == 10
    assert not policy.wants("a")
    now[0] += 600
    assert policy.wants("a"), "it may have been evicted meanwhile"
