"""DermaNode: a DICOM node that runs dermoscopy through a chain of plugins."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("dermanode")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0+source"
