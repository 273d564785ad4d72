"""fsspec's own suites on our adapter, with the embedded cluster in the road, over a local store and over S3."""

from __future__ import annotations

import pytest
from fsspec.tests.abstract import (
    AbstractCopyTests,
    AbstractFixtures,
    AbstractGetTests,
    AbstractOpenTests,
    AbstractPipeTests,
    AbstractPutTests,
)

from alluxio_arrow.testing import MiniCluster


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("abstract")


@pytest.fixture(scope="module")
def over_files(root):
    with MiniCluster(root, workers=2) as cluster:
        # As fsspec runs these suites on its own local filesystem.
        fs = cluster.fsspec_filesystem(target_protocol="file", target_options={"auto_mkdir": True})
        yield fs
        assert cluster.stats()["info"], "the cluster was asked, too"


@pytest.fixture(scope="module")
def over_s3(s3, s3_options):
    s3.mkdir("abstract")
    with MiniCluster("s3://abstract", workers=2, ufs_options=s3_options) as cluster:
        yield cluster.fsspec_filesystem()
        assert cluster.stats()["info"], "the cluster was asked, too"


class LocalStore(AbstractFixtures):
    """Over a directory."""

    @pytest.fixture
    def fs(self, over_files):
        return over_files

    @pytest.fixture
    def fs_path(self, root):
        return str(root)


class S3Store(AbstractFixtures):
    """Over S3, where directories are but prefixes."""

    @pytest.fixture
    def fs(self, over_s3):
        return over_s3

    @pytest.fixture
    def fs_path(self):
        return "abstract"

    @pytest.fixture
    def supports_empty_directories(self):
        return False


class TestCopyLocal(LocalStore, AbstractCopyTests): ...


class TestGetLocal(LocalStore, AbstractGetTests): ...


class TestPutLocal(LocalStore, AbstractPutTests): ...


class TestOpenLocal(LocalStore, AbstractOpenTests): ...


class TestPipeLocal(LocalStore, AbstractPipeTests): ...


class TestCopyS3(S3Store, AbstractCopyTests): ...


class TestGetS3(S3Store, AbstractGetTests): ...


class TestPutS3(S3Store, AbstractPutTests): ...


class TestOpenS3(S3Store, AbstractOpenTests): ...


class TestPipeS3(S3Store, AbstractPipeTests): ...
