"""``python -m alluxio_arrow``: the command line."""

from __future__ import annotations

import sys

from alluxio_arrow.cli import main

if __name__ == "__main__":
    sys.exit(main())
