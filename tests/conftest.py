"""Fixtures that several folders of tests share: real parts, started once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from alluxio_arrow.testing import MiniCluster

# Machines are shared: how long an example takes says nothing.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def data_directory() -> Path:
    """Recorded answers and placements of a real cluster."""
    return DATA


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    """The endpoint URL of an S3 server (moto)."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def s3_options(moto_server: str) -> dict[str, Any]:
    """Keyword arguments with which s3fs reaches that server."""
    return {"key": "testing", "secret": "testing-secret", "endpoint_url": moto_server}


@pytest.fixture(scope="session")
def s3(s3_options: dict[str, Any]) -> Any:
    """An s3fs filesystem on that server."""
    import s3fs

    return s3fs.S3FileSystem(**s3_options, use_listings_cache=False, skip_instance_cache=True)


@pytest.fixture(scope="session")
def files_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of files of telling sizes and names; half of it is loaded by `cluster`."""
    root = tmp_path_factory.mktemp("ufs")
    source = random.Random(11)
    page = 1 << 20
    sizes = {
        "hot/empty.bin": 0,
        "hot/one.bin": 1,
        "hot/small.bin": 70_001,
        "hot/exact.bin": 2 * page,
        "hot/several.bin": 5 * page + 12_345,
        "hot/dt=2024-01-01/x y+&%41#.bin": 40_000,
        "hot/sub/deep/中文.txt": 1234,
        "hot/q?mark.txt": 55,
        "hot/back\\slash.txt": 66,
        "cold/small.bin": 4_321,
        "cold/several.bin": 4 * page + 99,
    }
    for name, size in sizes.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.randbytes(size))
    return root


@pytest.fixture(scope="session")
def cluster(files_root: Path) -> Iterator[MiniCluster]:
    """A cluster over `files_root` with ``hot`` loaded. Nobody may change or break it; those who do start their own."""
    with MiniCluster(files_root) as cluster:
        cluster.load(str(files_root / "hot"))
        yield cluster
