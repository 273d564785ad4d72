"""The ring follows a real ETCD."""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import uuid

import pytest

from alluxio_arrow.config import make_settings
from alluxio_arrow.errors import MembershipError
from alluxio_arrow.etcd_protobuf import import_etcd3
from alluxio_arrow.membership import EtcdMembership, _grpc_use, _open_client
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
    with pytest.raises(MembershipError, match="compacted"):
        registry.watch(client, 1, lambda stream: None)
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
        wrong = {"etcd_username": "arrow", "etcd_password": "wrong-password"}
        for bad, told in (
            (wrong, f"as user 'arrow'.*{etcd.endpoint}.*authentication failed"),
            ({}, f"{etcd.endpoint}.*user name"),
        ):
            with pytest.raises(MembershipError, match=told) as caught:
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
        value = {"Identity": {"version": 1, "identifier": "0" * 32}, "WorkerNetAddress": {"Host": "h", "HttpServerPort": 5}}
        opened = _open_client(settings, *settings.etcd_endpoints[0])
        opened.put(f"{PREFIX}worker-x", json.dumps(value))
        opened.close()
        assert ports(membership) == [5]
        membership.close()
        with pytest.raises(MembershipError, match=etcd.endpoint):
            EtcdMembership(make_settings(etcd.endpoint, etcd_timeout_s=1)).snapshot()


class Seam:
    """Opens etcd3 clients, counts the listings, and does to them what a test asks for."""

    def __init__(self, settings, **overrides):
        self.settings, self.overrides, self.listings = settings, overrides, 0

    def __call__(self, host, port):
        seam, client = self, _open_client(self.settings, host, port)

        class Client:
            def __getattr__(self, name):
                return getattr(client, name)

            def get_prefix_response(self, prefix):
                seam.listings += 1
                response = client.get_prefix_response(prefix)
                seam.overrides.get("listed", lambda: None)()
                return response

        return Client()


def test_a_worker_that_joins_during_a_refresh_is_not_lost(etcd):
    """The answer of a refresh is older than an event that the watch has applied meanwhile."""
    register(etcd, 1, 1001)
    held, answer = threading.Event(), threading.Event()
    armed = []

    def listed():
        if armed:
            armed.clear()
            held.set()
            answer.wait(30)

    settings = make_settings(etcd.endpoint, etcd_refresh_workers_interval=0)
    membership = EtcdMembership(settings, connect=Seam(settings, listed=listed))
    membership.snapshot()
    armed.append(True)
    refresher = threading.Thread(target=membership.refresh)
    refresher.start()
    held.wait(30)
    register(etcd, 2, 1002)
    revisions = [membership.snapshot().revision]
    answer.set()
    refresher.join()

    def both_are_known():
        revisions.append(membership.snapshot().revision)
        return ports(membership) == [1001, 1002]

    wait_for(both_are_known)
    assert revisions == sorted(revisions)
    membership.close()


def test_a_refresh_lists_even_under_a_live_watch(watched):
    etcd, membership = watched
    register(etcd, 3, 1003)
    assert sorted(address.http_port for address in membership.refresh().addresses.values()) == [1001, 1002, 1003]


def test_a_watch_that_breaks_off_at_once_makes_no_storm(etcd, monkeypatch):
    from alluxio_arrow import membership as module

    register(etcd, 1, 1001)
    pauses = []

    class Wake(threading.Event):
        def wait(self, timeout=None):
            pauses.append(timeout)
            return super().wait(0)

    def refused(registry, client, revision, started):
        raise MembershipError("refused")

    monkeypatch.setattr(module._Registry, "watch", refused)
    membership = EtcdMembership(make_settings(etcd.endpoint))
    membership._watcher()._wake = Wake()
    membership.snapshot()
    wait_for(lambda: len(pauses) > 10)
    membership.close()
    assert pauses[0] <= 0.2 and 2.5 <= pauses[9] <= 5.0, pauses


def test_one_odd_entry_does_not_spoil_the_others(etcd):
    address = {"Host": "h", "HttpServerPort": 5}
    odd = [
        {"Identity": {"version": 1.0, "identifier": "e" * 32}, "WorkerNetAddress": address},
        {"Identity": {"version": True, "identifier": "e" * 32}, "WorkerNetAddress": address},
        {"Identity": {"version": 1, "identifier": "e" * 32}, "WorkerNetAddress": {"Host": "h", "HttpServerPort": True}},
    ]
    for number, value in enumerate([*map(json.dumps, odd), "[" * 100_000]):
        etcd.gateway().put(f"{PREFIX}worker-odd-{number}", value)
    nothing = EtcdMembership(make_settings(etcd.endpoint))
    with pytest.raises(MembershipError, match=f"{PREFIX}.*4 entries"):
        nothing.snapshot()
    register(etcd, 1, 1001)
    assert ports(nothing) == [1001]
    nothing.close()


def watching_threads():
    return {thread for thread in threading.enumerate() if thread.name == "alluxio-arrow-etcd"}


def test_a_failed_first_listing_leaves_no_thread(etcd):
    before = watching_threads()
    membership = EtcdMembership(make_settings(etcd.endpoint, cluster_name="Nowhere"))
    with pytest.raises(MembershipError, match="/ServiceDiscovery/Nowhere/: check the cluster's name"):
        membership.snapshot()
    wait_for(lambda: not watching_threads() - before)


def test_many_threads_share_the_first_listing(etcd):
    register(etcd, 1, 1001)
    settings = make_settings(etcd.endpoint)
    release = threading.Event()
    seam = Seam(settings, listed=lambda: release.wait(30))
    membership = EtcdMembership(settings, connect=seam)
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(ports(membership))) for _ in range(8)]
    for thread in threads:
        thread.start()
    wait_for(lambda: seam.listings)
    release.set()
    for thread in threads:
        thread.join()
    assert seen == [[1001]] * 8
    assert seam.listings <= 3
    membership.close()


def test_closing_twice_and_using_it_again(watched):
    etcd, membership = watched
    membership.close()
    membership.close()
    assert ports(membership) == [1001, 1002]
    register(etcd, 3, 1003)
    wait_for(lambda: ports(membership) == [1001, 1002, 1003])


def test_an_outage_is_told_once(watched, caplog):
    etcd, membership = watched
    with caplog.at_level(logging.INFO, "alluxio_arrow"):
        etcd.stop()
        wait_for(lambda: "going on with the 2 workers known" in caplog.text)
        with pytest.raises(MembershipError, match=etcd.endpoint):
            membership.refresh()
        assert ports(membership) == [1001, 1002]
        etcd.start()
        wait_for(lambda: "ETCD answers again" in caplog.text)
    assert caplog.text.count("going on with the 2 workers known") == 1


def test_a_membership_that_begins_with_a_snapshot_never_waits(watched):
    """ETCD is frozen: connections are accepted and nothing is answered."""
    etcd, membership = watched
    etcd.pause()
    try:
        settings = make_settings(etcd.endpoint, etcd_timeout_s=60)
        heir = EtcdMembership(settings, initial=membership.snapshot())
        assert ports(heir) == [1001, 1002]
        heir.close()
    finally:
        etcd.resume()


@pytest.mark.parametrize("shows_certificate", [True, False])
def test_tls_with_a_user(tmp_path, shows_certificate):
    import trustme

    authority = trustme.CA()
    server = authority.issue_cert("127.0.0.1")
    paths = {name: str(tmp_path / name) for name in ("ca", "cert", "key")}
    authority.cert_pem.write_to_path(paths["ca"])
    server.cert_chain_pems[0].write_to_path(paths["cert"])
    server.private_key_pem.write_to_path(paths["key"])
    trusted = {"trusted_ca_file": paths["ca"]} if shows_certificate else {}
    shown = {"etcd_cert_cert": paths["cert"], "etcd_cert_key": paths["key"]} if shows_certificate else {}
    with Etcd(cert_file=paths["cert"], key_file=paths["key"], **trusted) as etcd:
        settings = make_settings(etcd.endpoint, etcd_ca_cert=paths["ca"], **shown)
        client = _open_client(settings, "127.0.0.1", etcd.port)
        value = {"Identity": {"version": 1, "identifier": "0" * 32}, "WorkerNetAddress": {"Host": "h", "HttpServerPort": 5}}
        client.put(f"{PREFIX}worker-x", json.dumps(value))
        rpc = import_etcd3().etcdrpc
        auth = rpc.AuthStub(client.channel)
        auth.UserAdd(rpc.AuthUserAddRequest(name="root", password="right-password"))
        auth.RoleAdd(rpc.AuthRoleAddRequest(name="root"))
        auth.UserGrantRole(rpc.AuthUserGrantRoleRequest(user="root", role="root"))
        auth.AuthEnable(rpc.AuthEnableRequest())
        client.close()
        user = {"etcd_username": "root", "etcd_password": "right-password"}
        membership = EtcdMembership(make_settings(etcd.endpoint, etcd_ca_cert=paths["ca"], **shown, **user))
        assert ports(membership) == [5]
        membership.close()


FORK = """
import os, sys
from alluxio_arrow.config import make_settings
from alluxio_arrow.errors import MembershipError
from alluxio_arrow.membership import EtcdMembership
settings = make_settings(sys.argv[1])
membership = EtcdMembership(settings)
parent = membership.snapshot()
child = os.fork()
if child == 0:
    assert membership.snapshot() is parent
    assert EtcdMembership(settings, initial=parent).snapshot() is parent
    try:
        membership.refresh()
    except MembershipError as error:
        print(error, flush=True)
    membership.close()
    sys.exit(0)
status = os.waitpid(child, 0)[1]
assert membership.refresh().addresses == parent.addresses
print(status)
"""


@pytest.mark.parametrize("fork_support", [None, "0", "1"])
def test_a_forked_child_lives_on_what_it_inherited(etcd, fork_support):
    """Whatever an application has told gRPC about forks."""
    register(etcd, 1, 1001)
    environment = {key: value for key, value in os.environ.items() if key != "GRPC_ENABLE_FORK_SUPPORT"}
    if fork_support is not None:
        environment["GRPC_ENABLE_FORK_SUPPORT"] = fork_support
    command = [sys.executable, "-c", FORK, etcd.endpoint]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr
    told, status = done.stdout.splitlines()
    assert "workers inherited" in told
    assert status == "0"


def test_threads_end_with_their_membership(etcd):
    register(etcd, 1, 1001)
    before = watching_threads()
    membership = EtcdMembership(make_settings(etcd.endpoint))
    membership.snapshot()
    assert watching_threads() - before
    del membership
    gc.collect()
    wait_for(lambda: not watching_threads() - before)


def test_a_fork_never_finds_a_watcher_inside_grpc(etcd):
    """A lock of gRPC's, held at that moment, would be held in the child for ever. The watch goes on in the parent."""
    register(etcd, 1, 1001)
    membership = EtcdMembership(make_settings(etcd.endpoint))
    membership.snapshot()
    _grpc_use._hold()
    assert _grpc_use._inside == 0
    _grpc_use._release()
    child = os.fork()
    if child == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    register(etcd, 2, 1002)
    wait_for(lambda: ports(membership) == [1001, 1002])
    membership.close()


SCRIPT = """
import os, sys
from alluxio_arrow.config import make_settings
from alluxio_arrow.membership import EtcdMembership
membership = EtcdMembership(make_settings(sys.argv[1]))
print(len(membership.snapshot().addresses))
os.kill(int(sys.argv[2]), int(sys.argv[3]))
"""


@pytest.mark.parametrize("signal_number", [0, signal.SIGKILL, signal.SIGSTOP])
def test_a_program_that_just_ends(etcd, signal_number):
    """With ETCD alive, dead, or frozen."""
    register(etcd, 1, 1001)
    command = [sys.executable, "-c", SCRIPT, etcd.endpoint, str(etcd.pid), str(int(signal_number))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


@pytest.mark.venv
@pytest.mark.parametrize("version", ["3.20.3", "4.21.12", "4.25.8", "5.29.5", "6.31.1", ""])
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
