"""Where bytes come from, and that they are right whatever happens to the sources."""

from __future__ import annotations

import os
import random
import threading
import time

import pytest
from pyarrow.fs import FileSelector

from alluxio_arrow import (
    ConfigError,
    NotCachedError,
    ShortReadError,
    StaleFileError,
    WorkerTimeoutError,
    WorkerUnavailableError,
)
from alluxio_arrow.testing import MiniCluster

PAGE = 1 << 20


def wait_for(condition, timeout_s=30.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def write(path, size, seed=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(random.Random(seed).randbytes(size))
    return path


def read(fs, path):
    with fs.open_input_file(str(path)) as file:
        return file.read()


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A cluster that tests may break, if they mend it."""
    root = tmp_path_factory.mktemp("own")
    with MiniCluster(root) as cluster:
        cluster.root = root
        yield cluster


@pytest.fixture
def hot(own, request):
    """A cached file of five pages and a bit, its owner, and a mended cluster afterwards."""
    path = write(own.root / f"{request.node.name}.bin", 5 * PAGE + 777, seed=len(request.node.name))
    own.load(str(path))
    owner = own.owner(str(path))
    yield path, owner
    owner.clear_faults()


# -- what it costs ---------------------------------------------------------------------------------------------------------


def test_a_cached_file_costs_its_pages_and_one_metadata_request(own, hot):
    path, _ = hot
    fs = own.filesystem()
    assert read(fs, path) == path.read_bytes()
    stats = fs.handler.stats()
    assert (stats.page_requests, stats.pages_cache, stats.metadata_requests, stats.page_size_probes) == (6, 6, 1, 1)
    assert stats.bytes_cache == path.stat().st_size
    assert stats.bytes_ufs == stats.ufs_metadata_requests == 0
    assert read(fs, path) == path.read_bytes()
    assert fs.handler.stats().metadata_requests == 1


@pytest.mark.parametrize("size", [0, 1, 4000, PAGE])
def test_small_files_cost_one_request_at_most(own, size):
    path = write(own.root / f"small-{size}.bin", size)
    own.load(str(path))
    fs = own.filesystem()
    fs.get_file_info(str(path))
    with fs.open_input_file(str(path)) as file:
        file.seek(max(0, size - 10))
        assert file.read() == path.read_bytes()[-10:]
        file.seek(0)
        assert file.read() == path.read_bytes()
    stats = fs.handler.stats()
    assert stats.page_requests == min(size, 1)
    assert stats.metadata_requests == 1
    assert stats.page_size_probes == 0


def test_a_directory_is_one_listing_and_no_request_per_file(own):
    directory = own.root / "many"
    for index in range(60):
        write(directory / f"{index}.bin", index + 1)
    fs = own.filesystem()
    infos = fs.get_file_info(FileSelector(str(directory)))
    assert [info.size for info in sorted(infos, key=lambda info: info.size)] == list(range(1, 61))
    for info in infos:
        with fs.open_input_file(info.path) as file:
            assert file.size() == info.size
    stats = fs.handler.stats()
    assert (stats.metadata_requests, stats.ufs_metadata_requests) == (1, 1)
    trusting = own.filesystem(trust_listings=True)
    facts = [(info.path, info.size, info.mtime_ns) for info in trusting.get_file_info(FileSelector(str(directory)))]
    assert facts == [(info.path, info.size, info.mtime_ns) for info in infos]
    assert trusting.handler.stats().ufs_metadata_requests == 0


def test_many_paths_are_looked_up_by_one_listing(own):
    directory = own.root / "siblings"
    paths = [str(write(directory / f"{index}.bin", index + 1)) for index in range(30)]
    fs = own.filesystem()
    for path in paths:
        fs.normalize_path(path)
    for index, path in enumerate(paths):
        with fs.open_input_file(path) as file:
            assert file.size() == index + 1
    assert fs.handler.stats().metadata_requests <= 2


def test_connections_stay_below_the_limit(own, hot):
    path, owner = hot
    fs = own.filesystem(concurrency=3, window=16)
    before = owner.stats()["connections"]
    threads = [threading.Thread(target=read, args=(fs, path)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fs.handler.stats().pages_cache == 8 * 6
    assert fs.handler.stats().connections_open <= 3 + 1
    assert owner.stats()["connections"] <= before + 3 + 1


def test_opening_waits_for_nobody(own, hot):
    path, owner = hot
    for worker in own.workers:
        worker.set_faults(*({"kind": "stall", "seconds": 3.0, "endpoint": endpoint} for endpoint in ("info", "file", "files")))
    try:
        fs = own.filesystem()
        started = owner.stats()
        file = fs.open_input_file(str(path))
        assert owner.stats()["pages"] == started["pages"]
        assert not file.closed
    finally:
        for worker in own.workers:
            worker.clear_faults()
    assert file.read(10) == path.read_bytes()[:10]


# -- what goes wrong -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["drop", "short_body", "reset", "status", "chunked", "redirect"])
def test_a_faulty_page_is_made_good(own, hot, kind):
    """One page of six is answered badly; its bytes come from the under store (or the same worker, asked otherwise)."""
    path, owner = hot
    fs = own.filesystem()
    read(fs, path)
    before = fs.handler.stats()
    owner.set_faults({"kind": kind, "endpoint": "file", "after": 2, "count": None if kind == "status" else 1})
    assert read(fs, path) == path.read_bytes()
    stats = fs.handler.stats() - before
    if kind in ("chunked", "redirect"):
        assert (stats.pages_cache, stats.bytes_ufs) == (6, 0)
    else:
        assert stats.pages_cache == (2 if kind == "status" else 5)
        assert stats.fallbacks == 1
        assert stats.bytes_cache + stats.bytes_ufs == path.stat().st_size
    owner.clear_faults()
    assert read(fs, path) == path.read_bytes()


def test_a_page_of_another_length_is_never_used(own, hot):
    path, owner = hot
    fs = own.filesystem()
    owner.set_faults({"kind": "wrong_length", "endpoint": "file", "after": 1})
    assert read(fs, path) == path.read_bytes()
    assert fs.handler.stats().bytes_ufs == path.stat().st_size


def test_without_an_under_store_bad_pages_are_errors(own, hot):
    path, owner = hot
    fs = own.filesystem(ufs=False)
    assert read(fs, path) == path.read_bytes()
    for kind, error in (
        ("wrong_length", (StaleFileError, ShortReadError)),
        ("drop", NotCachedError),
        ("short_body", NotCachedError),
    ):
        owner.set_faults({"kind": kind, "endpoint": "file"})
        with pytest.raises(error):
            read(own.filesystem(ufs=False), path)
    owner.set_faults({"kind": "drop", "endpoint": "file", "after": 2, "count": 1})
    assert read(fs, path) == path.read_bytes(), "a page dropped once is asked for again"


def test_a_silent_worker_costs_one_time_out(own, hot):
    path, owner = hot
    fs = own.filesystem(read_timeout_s=0.5)
    assert read(fs, path) == path.read_bytes()
    owner.pause()
    try:
        assert read(fs, path) == path.read_bytes()
        stats = fs.handler.stats()
        assert stats.failovers == 1
        assert read(fs, path) == path.read_bytes()
        assert fs.handler.stats().page_requests == stats.page_requests, "a worker found down is left alone for a while"
        with pytest.raises(WorkerTimeoutError, match=r"0\.5 s"):
            read(own.filesystem(ufs=False, read_timeout_s=0.5, metadata_ttl_s=0), path)
    finally:
        owner.resume()


def test_a_dead_worker_mid_file(own, hot):
    path, owner = hot
    content = path.read_bytes()
    fs, cache_only = own.filesystem(), own.filesystem(ufs=False)
    with fs.open_input_file(str(path)) as file, cache_only.open_input_file(str(path)) as bare:
        assert file.read(100) == bare.read(100) == content[:100]
        owner.kill()
        try:
            file.seek(0)
            assert file.read() == content
            bare.seek(0)
            with pytest.raises(WorkerUnavailableError, match=owner.address):
                bare.read()
        finally:
            owner.restart()
    assert fs.handler.stats().failovers >= 1
    fs = own.filesystem()
    assert read(fs, path) == content
    assert fs.handler.stats().pages_cache == 6, "a restarted worker serves its pages again"


def test_evicted_pages_come_from_the_under_store_one_by_one(own, hot):
    path, owner = hot
    for index in (1, 2, 4):
        owner.evict(own.canonical(str(path)), index)
    fs = own.filesystem()
    assert read(fs, path) == path.read_bytes()
    stats = fs.handler.stats()
    assert stats.pages_cache + stats.bytes_ufs // PAGE >= 5
    assert stats.bytes_cache + stats.bytes_ufs == path.stat().st_size
    assert stats.ufs_reads <= 3
    assert own.filesystem(ufs=False).get_file_info(str(path)).size == path.stat().st_size


def test_a_cold_file_is_not_asked_for_page_by_page(own):
    path = write(own.root / "cold-long.bin", 40 * PAGE)
    fs = own.filesystem()
    assert read(fs, path) == path.read_bytes()
    stats = fs.handler.stats()
    assert stats.bytes_ufs == 40 * PAGE
    assert stats.page_requests + stats.page_size_probes < 15


def test_etcd_may_die_after_the_first_read(tmp_path):
    path = write(tmp_path / "x.bin", 3 * PAGE)
    with MiniCluster(tmp_path, workers=1) as cluster:
        cluster.load(str(path))
        fs = cluster.filesystem()
        assert read(fs, path) == path.read_bytes()
        cluster.etcd.stop()
        assert read(fs, path) == path.read_bytes()
        other = write(tmp_path / "y.bin", 10)
        assert read(fs, other) == other.read_bytes()
        assert fs.handler.stats().pages_cache == 6


# -- versions --------------------------------------------------------------------------------------------------------------


def rewrite(path, content):
    before = path.stat().st_mtime_ns
    path.write_bytes(content)
    os.utime(path, ns=(before + 5_000_000_000, before + 5_000_000_000))


def test_a_file_changed_underneath_is_never_mixed(own, hot):
    path, owner = hot
    old = path.read_bytes()
    new = random.Random(99).randbytes(len(old))
    fs = own.filesystem()
    with fs.open_input_file(str(path)) as file:
        assert file.read(PAGE) == old[:PAGE]
        rewrite(path, new)
        owner.evict(own.canonical(str(path)), 3)
        with pytest.raises(StaleFileError, match="open it again"):
            file.read()
    assert fs.handler.stats().stale_files == 1
    assert read(fs, path) == new
    assert read(own.filesystem(), path) == new, "a client that has given nothing yet starts over from the under store"
    own.load(str(path))
    assert read(own.filesystem(), path) == new


def test_a_listing_tells_changed_files(own, hot):
    """A listing is compared with the under store, so a file read after it is the present one."""
    path, _ = hot
    own.filesystem().get_file_info(FileSelector(str(own.root)))
    read(own.filesystem(), path)
    new = random.Random(5).randbytes(2 * PAGE + 5)
    rewrite(path, new)
    fs = own.filesystem()
    infos = {info.path: info.size for info in fs.get_file_info(FileSelector(str(own.root)))}
    assert infos[str(path)] == len(new)
    assert read(fs, path) == new
    assert fs.handler.stats().pages_cache == 0
    own.load(str(path))
    fs = own.filesystem()
    fs.get_file_info(FileSelector(str(own.root)))
    assert read(fs, path) == new
    assert fs.handler.stats().bytes_ufs == 0, "cluster and under store agree again"


def test_a_shrunk_or_grown_file_without_under_store_is_an_error(own, hot):
    path, _ = hot
    own.filesystem(ufs=False).get_file_info(str(path))
    fs = own.filesystem(ufs=False)
    with fs.open_input_file(str(path)) as file:
        assert file.size() == 5 * PAGE + 777
        rewrite(path, b"x" * (5 * PAGE + 900))
        own.load(str(path))
        with pytest.raises((StaleFileError, ShortReadError)):
            file.read()


# -- page sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page_size", ["256KB", "3MB", "64MB", "1000003"])
@pytest.mark.parametrize("size", [1000, 300_000, 3 * PAGE, 7 * PAGE + 3])
def test_other_page_sizes_are_detected(tmp_path, page_size, size):
    path = write(tmp_path / "x.bin", size)
    with MiniCluster(tmp_path, workers=1, page_size=page_size) as cluster:
        cluster.load(str(path))
        for fs in (cluster.filesystem(ufs=False), cluster.filesystem()):
            with fs.open_input_file(str(path)) as file:
                file.seek(size // 3)
                assert file.read(size // 2) == path.read_bytes()[size // 3 : size // 3 + size // 2]
            assert read(fs, path) == path.read_bytes()
            assert fs.handler.stats().bytes_ufs == 0


def test_a_stated_page_size_that_is_wrong_is_an_error(tmp_path):
    path = write(tmp_path / "x.bin", 9 * PAGE)
    with MiniCluster(tmp_path, workers=1, page_size="4MB") as cluster:
        cluster.load(str(path))
        with pytest.raises(ConfigError, match=r"1048576 bytes are configured.*pages of 4194304 bytes"):
            read(cluster.filesystem(page_size="1MB"), path)
        assert read(cluster.filesystem(page_size="4MB"), path) == path.read_bytes()


def test_workers_of_different_page_sizes(tmp_path):
    paths = [write(tmp_path / f"{index}.bin", 5 * PAGE + index, seed=index) for index in range(12)]
    with MiniCluster(tmp_path, workers=2, page_size=["512KB", "2MB"]) as cluster:
        cluster.load(str(tmp_path))
        fs = cluster.filesystem(ufs=False)
        assert len({cluster.owner(str(path)).address for path in paths}) == 2
        for path in paths:
            assert read(fs, path) == path.read_bytes()


# -- names that no worker can be asked for ----------------------------------------------------------------------------------


def test_hive_files_are_cached_and_read_by_id(own):
    path = write(own.root / "table/dt=2024-01-01/part 0.bin", 3 * PAGE)
    own.load(str(own.root / "table"))
    fs = own.filesystem()
    assert [info.path for info in fs.get_file_info(FileSelector(str(path.parent)))] == [str(path)]
    assert read(fs, path) == path.read_bytes()
    assert (fs.handler.stats().pages_cache, fs.handler.stats().bytes_ufs) == (3, 0)


def test_without_under_store_unaddressable_names_are_found_in_their_directory(own):
    path = write(own.root / "plain/sp ace.bin", 100)
    own.load(str(own.root / "plain"))
    fs = own.filesystem(ufs=False)
    assert read(fs, path) == path.read_bytes()
    deep = write(own.root / "plain/a=b/c.bin", 100)
    with pytest.raises(ValueError, match="under store"):
        read(fs, deep)


def test_no_listing_is_empty_by_mistake(own):
    write(own.root / "list/x=1/file.bin", 10)
    (own.root / "list/empty").mkdir()
    for fs in (own.filesystem(), own.filesystem(trust_listings=True)):
        assert len(fs.get_file_info(FileSelector(str(own.root / "list/x=1")))) == 1
        assert len(fs.get_file_info(FileSelector(str(own.root / "list"), recursive=True))) == 3
        assert fs.get_file_info(FileSelector(str(own.root / "list/empty"))) == []
    bare = own.filesystem(ufs=False)
    assert bare.get_file_info(FileSelector(str(own.root / "list/empty"))) == []
    with pytest.raises((ValueError, OSError)):
        bare.get_file_info(FileSelector(str(own.root / "list/x=1")))
    with pytest.raises(FileNotFoundError):
        bare.get_file_info(FileSelector(str(own.root / "list/none")))


# -- starts that fail ------------------------------------------------------------------------------------------------------


def test_an_unreachable_etcd_is_told_quickly():
    from alluxio_arrow import MembershipError, filesystem
    from alluxio_arrow.testing.etcd import free_port

    port = free_port()
    fs = filesystem(f"127.0.0.1:{port}", target_protocol="file", etcd_timeout_s=2)
    with pytest.raises(MembershipError, match=f"127.0.0.1:{port}"):
        fs.open_input_file("/etc/hostname").read()


def test_an_empty_cluster_is_told(own):
    from alluxio_arrow import MembershipError, filesystem

    fs = filesystem(own.etcd_hosts, cluster_name="NobodyHome", target_protocol="file")
    with pytest.raises(MembershipError, match="no worker is registered under /ServiceDiscovery/NobodyHome/"):
        fs.open_input_file("/etc/hostname").read()


# -- one thread or many, one process or two --------------------------------------------------------------------------------


def test_many_threads_read_right(own, hot):
    path, _ = hot
    content = path.read_bytes()
    fs = own.filesystem(concurrency=4)
    failures = []

    def work(seed):
        source = random.Random(seed)
        with fs.open_input_file(str(path)) as file:
            for _ in range(30):
                start, length = source.randrange(len(content)), source.randrange(1, 2 * PAGE)
                if file.read_at(length, start) != content[start : start + length]:
                    failures.append((start, length))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_forked_child_reads_on_its_own(own, hot):
    path, _ = hot
    content = path.read_bytes()
    fs = own.filesystem()
    file = fs.handler.open_file(str(path), sequential=True)
    assert file.read(1000) == content[:1000]
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            right = file.read(3 * PAGE) == content[1000 : 1000 + 3 * PAGE] and read(fs, path) == content
            os.write(writing, b"right" if right else b"wrong")
        finally:
            os._exit(0)
    os.close(writing)
    assert os.read(reading, 10) == b"right"
    os.waitpid(child, 0)
    assert file.read() == content[1000:]


# -- watching --------------------------------------------------------------------------------------------------------------


def test_every_wire_step_can_be_watched(own, hot):
    path, owner = hot
    events = []
    fs = own.filesystem(trace=lambda event, info: events.append((event, dict(info))))
    read(fs, path)
    names = [event for event, _ in events]
    assert "connect.started" in names
    assert "connect.complete" in names
    infos = [info for event, info in events if event == "request.complete"]
    assert any(info["target"].startswith("/v1/info") and info["status"] == 200 for info in infos)
    owner.evict(own.canonical(str(path)))
    read(fs, path)
    assert "ufs.read.complete" in [event for event, _ in events]


def test_streams_read_ahead_and_random_access_does_not(own, hot):
    path, _ = hot
    fs = own.filesystem()
    read(fs, path)  # opens connections: reading ahead never waits for one
    before = fs.handler.stats()
    with fs.open_input_stream(str(path)) as stream:
        while stream.read(100_000):
            pass
    stats = fs.handler.stats() - before
    assert (stats.page_requests, stats.pages_cache) == (6, 6)
    assert stats.prefetched_pages >= 4
    assert stats.prefetch_unused == 0
    with fs.open_input_file(str(path)) as file:
        for offset in (3_000_000, 10, 2_000_000, 4_000_000):
            file.read_at(1000, offset)
    assert (fs.handler.stats() - before).prefetched_pages == stats.prefetched_pages


def test_a_stream_given_up_gives_up_its_connections(own, hot):
    path, _ = hot
    fs = own.filesystem()
    read(fs, path)
    stream = fs.open_input_stream(str(path))
    for _ in range(25):
        stream.read(100_000)
    requested = fs.handler.stats()
    del stream
    stats = fs.handler.stats() - requested
    assert stats.prefetch_unused > 0
    assert fs.handler.stats().connections_open < requested.connections_open
    assert read(fs, path) == path.read_bytes()


def test_replicas_are_asked_in_their_order(own):
    """With the owner dead, the next candidate serves what it holds."""
    path = write(own.root / "replicated.bin", 2 * PAGE)
    own.load(str(path))
    canonical = own.canonical(str(path))
    fs = own.filesystem(replicas=2, ufs=False)
    first, second = (str(address) for address in fs.handler.client.candidates(canonical))
    workers = {worker.address: worker for worker in own.workers}
    workers[second].order("cache", path=canonical)
    assert own.owner(str(path)).address == first
    workers[first].kill()
    try:
        assert read(fs, path) == path.read_bytes()
        assert fs.handler.stats().failovers >= 1
    finally:
        workers[first].restart()


def test_the_least_recently_used_pages_leave_a_full_store(tmp_path):
    first, second = write(tmp_path / "1.bin", 3 * PAGE), write(tmp_path / "2.bin", 3 * PAGE, seed=2)
    with MiniCluster(tmp_path, workers=1, page_store_capacity=4 * PAGE, latency_s=0.01) as cluster:
        cluster.load(str(first))
        cluster.load(str(second))
        worker = cluster.workers[0]
        assert worker.cached_pages(cluster.canonical(str(first))) == [2]
        assert worker.cached_pages(cluster.canonical(str(second))) == [0, 1, 2]
        fs = cluster.filesystem()
        assert read(fs, first) == first.read_bytes()
        assert read(fs, second) == second.read_bytes()
        assert fs.handler.stats().bytes_cache >= 3 * PAGE
