"""Seeing inside by the tools that applications already use. Each module needs an extra of its own."""
