"""What can go wrong with the embedded servers.

EmbeddedError
├── DownloadFailed    an artifact could not be fetched, or is not what the lock file pins
├── BuildFailed       Weaviate could not be built
├── PortTaken         somebody else listens on a port that a server needs
├── DataDirInUse      another stack runs on the same data directory
└── ServerNotReady    a server ended, or did not answer in time

Each message says what to do, so a command line prints it as it is.
"""

from __future__ import annotations


class EmbeddedError(RuntimeError):
    """An embedded server can't be had; the message says what to do about it."""


class DownloadFailed(EmbeddedError):
    """A file could not be fetched or verified. Starting again resumes: verified files are kept."""


class BuildFailed(EmbeddedError):
    """The Weaviate server could not be built."""


class PortTaken(EmbeddedError):
    """A port is held by a process that is not ours."""


class DataDirInUse(EmbeddedError):
    """A running stack owns the data directory."""


class ServerNotReady(EmbeddedError):
    """A server process ended during its start, or did not answer before the deadline."""
