"""The ring follows a real ETCD."""

from __future__ import annotations

import gc
import json
import logging
import subprocess
import sys
import threading
import time
import uuid

import pytest

from alluxio_arrow.config import make_settings
from alluxio_arrow.errors import MembershipError
from alluxio_arrow.membership import EtcdMembership
from alluxio_arrow.testing import Etcd
from alluxio_arrow.testing.etcd import free_port

PREFIX = "/ServiceDiscovery/DefaultAlluxioCluster/"


def wait_for(condition, timeout_s=30.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def register(etcd, number, port, lease=None, **more):
    identifier = uuid.UUID(int=number)
    value = {
        "Identity": {"version": 1, "identifier": identifier.hex},
        "WorkerNetAddress": {"Host": "127.0.0.1", "HttpServerPort": port},
        **more,
    }
    etcd.gateway().put(f"{PREFIX}worker-{identifier}", json.dumps(value), lease)


def ports(membership):
    return sorted(address.http_port for address in membership.snapshot().addresses.values())


@pytest.fixture
def etcd():
    with Etcd() as etcd:
        yield etcd


@pytest.fixture
def watched(etcd):
    """An ETCD with two workers, and a membership that follows it."""
    register(etcd, 1, 1001)
    register(etcd, 2, 1002)
    membership = EtcdMembership(make_settings(etcd.endpoint, etcd_timeout_s=2))
    assert ports(membership) == [1001, 1002]
    yield etcd, membership
    membership.close()


def test_workers_join_move_and_leave(watched):
    etcd, membership = watched
    first = membership.snapshot()
    register(etcd, 3, 1003)
    wait_for(lambda: ports(membership) == [1001, 1002, 1003])
    register(etcd, 3, 2003)
    wait_for(lambda: ports(membership) == [1001, 1002, 2003])
    moved = membership.snapshot()
    assert moved.revision > first.revision
    etcd.gateway().delete(f"{PREFIX}worker-{uuid.UUID(int=2)}")
    wait_for(lambda: ports(membership) == [1001, 2003])
    assert len(first.addresses) == 2, "a snapshot that a read began with never changes"


def test_a_lease_that_runs_out(watched):
    etcd, membership = watched
    lease = etcd.gateway().grant_lease(2)
    register(etcd, 3, 1003, lease)
    wait_for(lambda: ports(membership) == [1001, 1002, 1003])
    wait_for(lambda: ports(membership) == [1001, 1002])


def test_the_ring_is_never_emptied(watched):
    etcd, membership = watched
    for number in (1, 2):
        etcd.gateway().delete(f"{PREFIX}worker-{uuid.UUID(int=number)}")
    register(etcd, 7, 1007, State="x")
    wait_for(lambda: ports(membership) == [1007])
    etcd.gateway().delete(f"{PREFIX}worker-{uuid.UUID(int=7)}")
    register(etcd, 8, 0)
    membership.refresh()
    assert ports(membership) == [1007]


def test_malformed_entries_are_skipped_one_by_one(watched, caplog):
    etcd, membership = watched
    with caplog.at_level(logging.WARNING, "alluxio_arrow"):
        etcd.gateway().put(f"{PREFIX}worker-bad", "{nonsense")
        register(etcd, 3, 1003)
        wait_for(lambda: ports(membership) == [1001, 1002, 1003])
        membership.refresh()
        membership.refresh()
    assert caplog.text.count("worker-bad") == 1
    other = EtcdMembership(make_settings(etcd.endpoint))
    assert ports(other) == [1001, 1002, 1003]
    other.close()


def test_etcd_restarts(watched):
    etcd, membership = watched
    etcd.stop()
    assert ports(membership) == [1001, 1002], "reads go on with what is known"
    etcd.start()
    register(etcd, 3, 1003)
    wait_for(lambda: ports(membership) == [1001, 1002, 1003])


def test_history_is_compacted_while_nobody_watches(watched):
    """A watch that would begin before the compaction is cancelled by ETCD; a listing follows."""
    etcd, membership = watched
    etcd.stop()
    etcd.start()
    for port in range(3000, 3020):
        register(etcd, 3, port)
    etcd.gateway().compact(etcd.gateway().revision())
    wait_for(lambda: ports(membership) == [1001, 1002, 3019])
    registry = membership._registry
    client, _ = registry.list_anywhere()
    streams = []
    registry.watch(client, 1, streams.append)  # returns because ETCD cancels it
    assert streams
    client.close()


def test_other_clusters_are_not_seen(watched):
    etcd, membership = watched
    value = json.dumps(
        {"Identity": {"version": 1, "identifier": "f" * 32}, "WorkerNetAddress": {"Host": "h", "HttpServerPort": 1}}
    )
    etcd.gateway().put("/ServiceDiscovery/DefaultAlluxioClusterTwo/worker-f", value)
    membership.refresh()
    assert ports(membership) == [1001, 1002]


def test_the_refresh_interval_lists_anew(etcd):
    register(etcd, 1, 1001)
    membership = EtcdMembership(make_settings(etcd.endpoint, etcd_refresh_workers_interval=0.2))
    membership.snapshot()
    time.sleep(0.5)  # several intervals: each ends the watch and begins another
    register(etcd, 2, 1002)
    wait_for(lambda: ports(membership) == [1001, 1002])
    membership.close()


def test_several_endpoints_and_dead_ones(etcd):
    register(etcd, 1, 1001)
    dead = free_port()
    for _ in range(4):
        membership = EtcdMembership(make_settings(f"127.0.0.1:{dead},{etcd.endpoint}"))
        assert ports(membership) == [1001]
        membership.close()
    with pytest.raises(MembershipError, match=f"127.0.0.1:{dead}"):
        EtcdMembership(make_settings(f"127.0.0.1:{dead}")).snapshot()


def test_users_and_passwords():
    with Etcd(username="arrow", password="right-password") as etcd:
        register(etcd, 1, 1001)
        good = make_settings(etcd.endpoint, etcd_username="arrow", etcd_password="right-password")
        membership = EtcdMembership(good)
        assert ports(membership) == [1001]
        register(etcd, 2, 1002)
        wait_for(lambda: ports(membership) == [1001, 1002])
        membership.close()
        for bad in ({"etcd_username": "arrow", "etcd_password": "wrong-password"}, {}):
            with pytest.raises(MembershipError, match=etcd.endpoint) as caught:
                EtcdMembership(make_settings(etcd.endpoint, **bad)).snapshot()
            assert "wrong-password" not in str(caught.value)


def test_tls(tmp_path):
    import trustme

    authority = trustme.CA()
    server, client = authority.issue_cert("127.0.0.1", "localhost"), authority.issue_cert("client@example.org")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name, certificate in (("server", server), ("client", client)):
        certificate.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        certificate.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
    files = {name: str(tmp_path / name) for name in ("ca.pem", "server.pem", "server.key", "client.pem", "client.key")}
    with Etcd(cert_file=files["server.pem"], key_file=files["server.key"], trusted_ca_file=files["ca.pem"]) as etcd:
        shown = {"etcd_cert_cert": files["client.pem"], "etcd_cert_key": files["client.key"]}
        settings = make_settings(f"https://{etcd.endpoint}", etcd_ca_cert=files["ca.pem"], etcd_timeout_s=5, **shown)
        membership = EtcdMembership(settings)
        with pytest.raises(MembershipError, match="no worker is registered"):
            membership.snapshot()
        from alluxio_arrow.membership import _open_client

        value = {"Identity": {"version": 1, "identifier": "0" * 32}, "WorkerNetAddress": {"Host": "h", "HttpServerPort": 5}}
        opened = _open_client(settings, *settings.etcd_endpoints[0])
        opened.put(f"{PREFIX}worker-x", json.dumps(value))
        opened.close()
        assert ports(membership) == [5]
        membership.close()
        with pytest.raises(MembershipError, match=etcd.endpoint):
            EtcdMembership(make_settings(etcd.endpoint, etcd_timeout_s=1)).snapshot()


def test_threads_end_with_their_membership(etcd):
    register(etcd, 1, 1001)
    membership = EtcdMembership(make_settings(etcd.endpoint))
    membership.snapshot()

    def running():
        return [thread for thread in threading.enumerate() if thread.name == "alluxio-arrow-etcd"]

    assert running()
    del membership
    gc.collect()
    wait_for(lambda: not running())


SCRIPT = """
import sys
from alluxio_arrow.config import make_settings
from alluxio_arrow.membership import EtcdMembership
membership = EtcdMembership(make_settings(sys.argv[1]))
print(len(membership.snapshot().addresses))
"""


def test_a_program_that_just_ends(etcd):
    register(etcd, 1, 1001)
    done = subprocess.run([sys.executable, "-c", SCRIPT, etcd.endpoint], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


@pytest.mark.venv
@pytest.mark.parametrize("version", ["3.20.3", "4.25.8", "5.29.5", "6.31.1", ""])
def test_etcd3_beside_any_protobuf(etcd, tmp_path, version):
    """Range, put, watch, lease and delete by the unmodified etcd3, with protobuf from its oldest to its newest."""
    if version:
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--target",
            str(tmp_path),
            f"protobuf=={version}",
        ]
        subprocess.run(command, check=True)
    script = """
import sys
sys.path.insert(0, sys.argv[2])
import google.protobuf
from alluxio_arrow.etcd_protobuf import import_etcd3
etcd3 = import_etcd3()
assert import_etcd3() is etcd3
host, port = sys.argv[1].split(":")
client = etcd3.client(host=host, port=int(port), timeout=10)
events, cancel = client.watch("/k")
lease = client.lease(30)
client.put("/k", "v", lease=lease)
assert client.get("/k")[0] == b"v"
event = next(events)
assert (type(event).__name__, event.value) == ("PutEvent", b"v")
assert client.delete("/k")
assert type(next(events)).__name__ == "DeleteEvent"
lease.revoke()
from alluxio_arrow.config import make_settings
from alluxio_arrow.membership import EtcdMembership
client.put("/ServiceDiscovery/DefaultAlluxioCluster/worker-x",
    '{"Identity":{"version":1,"identifier":"%s"},"WorkerNetAddress":{"Host":"h","HttpServerPort":5}}' % ("0" * 32))
assert len(EtcdMembership(make_settings(sys.argv[1])).snapshot().addresses) == 1
print(google.protobuf.__version__)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, etcd.endpoint, str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == version or not version
