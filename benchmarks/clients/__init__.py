"""One small module per client, all with the interface of :mod:`clients.base`.

A module has one class ``Client``. It is imported only in the process that measures it, and may import only the standard
library, pyarrow, :mod:`clients.base` and the package it is about: most run in virtual environments of their own.
"""
