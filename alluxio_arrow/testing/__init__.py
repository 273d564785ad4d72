"""An embedded Alluxio cluster, for testing pipelines without a real one. See the testing page of the documentation."""

from alluxio_arrow.testing.cluster import MiniCluster, MiniWorker
from alluxio_arrow.testing.etcd import Etcd
from alluxio_arrow.testing.faults import Fault

__all__ = ["Etcd", "Fault", "MiniCluster", "MiniWorker"]
