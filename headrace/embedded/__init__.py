"""The embedded stack: a real Kafka and a real Weaviate as child processes, without Docker or anything installed.

from headrace.embedded import EmbeddedSettings, ServerStack

with ServerStack(EmbeddedSettings(data_dir=…)) as stack:
    stack.bootstrap_servers, stack.weaviate_url, stack.weaviate_grpc_address
"""

from headrace.embedded.artifacts import MiniLmFiles, fetch_minilm
from headrace.embedded.config import EmbeddedSettings
from headrace.embedded.data_dir import running_pid
from headrace.embedded.errors import (
    BuildFailed,
    DataDirInUse,
    DownloadFailed,
    EmbeddedError,
    PortTaken,
    ServerNotReady,
)
from headrace.embedded.kafka import EmbeddedKafka
from headrace.embedded.kafka_tools import TOOL_CLASSES, KafkaInstallation, exec_tool
from headrace.embedded.progress import LogReporter, Reporter, RichReporter, SilentReporter, Step, default_reporter
from headrace.embedded.stack import ServerStack
from headrace.embedded.weaviate import EmbeddedWeaviate

__all__ = [
    "TOOL_CLASSES",
    "BuildFailed",
    "DataDirInUse",
    "DownloadFailed",
    "EmbeddedError",
    "EmbeddedKafka",
    "EmbeddedSettings",
    "EmbeddedWeaviate",
    "KafkaInstallation",
    "LogReporter",
    "MiniLmFiles",
    "PortTaken",
    "Reporter",
    "RichReporter",
    "ServerNotReady",
    "ServerStack",
    "SilentReporter",
    "Step",
    "default_reporter",
    "exec_tool",
    "fetch_minilm",
    "running_pid",
]
