"""The test stack in containers: the images and settings of docker-compose.yml, started by testcontainers."""

import json
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testcontainers.community.weaviate import WeaviateContainer

from headrace.embedded.ports import free_ports
from headrace.settings import Settings
from tests.containers.kafka import ApacheKafkaContainer, bind_loopback

ROOT = Path(__file__).parents[2]
STANDIN_LABEL = "headrace.standin"
_COMMAND_TIMEOUT_S = 60


@dataclass(frozen=True)
class ComposeService:
    """What docker-compose.yml says of a service, with its variables filled in."""

    image: str
    environment: Mapping[str, str]


def docker(*arguments: str) -> str:
    """The output of a docker command; raises `RuntimeError` with what it complained of."""
    done = subprocess.run(
        ["docker", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"docker {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def compose_service(name: str) -> ComposeService:
    services: dict[str, Any] = json.loads(docker("compose", "config", "--format", "json"))["services"]
    return ComposeService(services[name]["image"], services[name]["environment"])


def is_standin(image: str) -> bool:
    """Whether the image is one of docker/standin/; raises `RuntimeError` where it is missing."""
    return (
        docker("image", "inspect", "--format", f'{{{{index .Config.Labels "{STANDIN_LABEL}"}}}}', image).strip()
        == "true"
    )


class ContainerStack:
    """Kafka and Weaviate for a test run: `start`, `stop`. What it stored goes with it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._kafka, self._weaviate = compose_service("kafka"), compose_service("weaviate")
        self._kafka_port, self._weaviate_port, self._grpc_port = free_ports(3)
        self._running = ExitStack()

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self._kafka_port}"

    @property
    def weaviate_url(self) -> str:
        return f"http://127.0.0.1:{self._weaviate_port}"

    @property
    def weaviate_grpc_address(self) -> tuple[str, int]:
        return "127.0.0.1", self._grpc_port

    def environment(self) -> dict[str, str]:
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "WEAVIATE_URL": self.weaviate_url,
            "HEADRACE_WEAVIATE_GRPC_PORT": str(self._grpc_port),
            "HEADRACE_DATA_DIR": str(self._directory),
            "HEADRACE_CACHE_DIR": str(Settings.from_env().cache_dir),
        }

    def versions(self) -> str:
        images = (self._kafka.image, self._weaviate.image)
        return ", ".join(f"{image} ({'stand-in' if is_standin(image) else 'official image'})" for image in images)

    def start(self) -> None:
        """Starts both; leaves none behind when one fails."""
        weaviate = WeaviateContainer(self._weaviate.image, env_vars=dict(self._weaviate.environment))
        bind_loopback(weaviate, 8080, self._weaviate_port)
        bind_loopback(weaviate, 50051, self._grpc_port)
        with ExitStack() as starting:
            starting.enter_context(
                ApacheKafkaContainer(self._kafka.image, self._kafka.environment, port=self._kafka_port)
            )
            starting.enter_context(weaviate)
            self._running = starting.pop_all()

    def stop(self) -> None:
        self._running.close()
