"""PyIceberg's face: a ``FileIO`` that reads tables through the cluster's cache.

Name it in a catalog's or table's properties, with settings behind the prefix ``alluxio-arrow.``::

    py-io-impl: alluxio_arrow.pyiceberg.AlluxioFileIO
    alluxio-arrow.etcd-hosts: etcd1:2379,etcd2:2379
    alluxio-arrow.target-protocol: s3

What they leave out comes from the environment (``ALLUXIO_ARROW_...``), which is also the place for secrets.
"""

from __future__ import annotations

from typing import Any

from pyarrow.fs import PyFileSystem
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO

from alluxio_arrow.config import make_settings
from alluxio_arrow.handler import shared_handler

__all__ = ["PREFIX", "AlluxioFileIO"]

#: Properties that begin so are settings of `alluxio_arrow.filesystem`, with dashes for underscores.
PREFIX = "alluxio-arrow."

#: Options of the under store: ``alluxio-arrow.target-options.endpoint_url``.
_TARGET_OPTIONS = "target_options."


class AlluxioFileIO(PyArrowFileIO):  # type: ignore[misc]  # pyiceberg is optional
    """Files of an Iceberg table, whatever their scheme, through one Alluxio cluster."""

    def _initialize_fs(self, scheme: str, netloc: str | None = None) -> PyFileSystem:  # noqa: ARG002 - pyiceberg's signature
        settings: dict[str, Any] = {}
        options: dict[str, str] = {}
        for key, value in self.properties.items():
            if key.startswith(PREFIX):
                name = key.removeprefix(PREFIX)
                if name.replace("-", "_").startswith(_TARGET_OPTIONS):
                    options[name[len(_TARGET_OPTIONS) :]] = value
                else:
                    settings[name.replace("-", "_")] = value
        if options:
            settings["target_options"] = options
        return PyFileSystem(shared_handler(make_settings(**settings)))

    def new_output(self, location: str) -> PyArrowFile:
        """A file to write. Where directories are real, those above it are made, as PyIceberg expects of local files."""
        scheme, netloc, path = self.parse_location(location, self.properties)
        fs = self.fs_by_scheme(scheme, netloc)
        if fs.handler.client.mapper.is_rooted:
            fs.create_dir(path.rpartition("/")[0], recursive=True)
        return super().new_output(location)
