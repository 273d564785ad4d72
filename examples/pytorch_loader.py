"""PyTorch: a `DataLoader` with four worker processes, forked and spawned.

The dataset object holds the filesystem itself: it pickles, and every process makes connections of its own.
"""

from __future__ import annotations

import tempfile
import warnings

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pyarrow.fs import FileSystem
from torch.utils.data import DataLoader, Dataset

import alluxio_arrow
from alluxio_arrow.testing import MiniCluster


class RowGroups(Dataset[torch.Tensor]):
    """One item for each row group of a file."""

    def __init__(self, path: str, fs: FileSystem) -> None:
        self._path, self._fs = path, fs
        with fs.open_input_file(path) as file:
            self._length = pq.ParquetFile(file).num_row_groups

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> torch.Tensor:
        if not 0 <= index < self._length:
            raise IndexError(index)
        # Arrow's own threads do not live on in a forked process, so it reads in this one.
        with self._fs.open_input_file(self._path) as file:
            table = pq.ParquetFile(file, pre_buffer=False).read_row_group(index, use_threads=False)
        return torch.tensor(table.column("n").to_numpy())


def main() -> None:
    """Write a table, load it, sum it up in other processes."""
    warnings.simplefilter("ignore")  # forking beside threads is what is shown here
    with tempfile.TemporaryDirectory() as directory, MiniCluster(directory) as cluster:
        path = f"{directory}/table.parquet"
        pq.write_table(pa.table({"n": range(160_000)}), path, row_group_size=10_000)
        cluster.load(path)
        fs = alluxio_arrow.filesystem(etcd_hosts=cluster.etcd_hosts, target_protocol="file")
        dataset = RowGroups(path, fs)
        for context in ("fork", "spawn"):
            before = cluster.stats()["pages"]
            loader = DataLoader(dataset, batch_size=None, num_workers=4, multiprocessing_context=context)
            assert torch.equal(torch.cat(list(loader)), torch.arange(160_000))
            pages = cluster.stats()["pages"] - before
            assert pages > 0
            print(f"{context}: 4 processes read {pages} pages from the workers")


if __name__ == "__main__":
    main()
