"""`apache/kafka` under testcontainers, whose own `KafkaContainer` knows only another vendor's image."""

from collections.abc import Mapping
from typing import Self

from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

START_DEADLINE_S = 90
_CLIENT_PORT = 9092


def bind_loopback(container: DockerContainer, port: int, host_port: int) -> None:
    """Like `with_bind_ports`, which would publish on every interface."""
    container.ports[str(port)] = ("127.0.0.1", host_port)  # type: ignore[assignment]  # docker-py takes the pair


class ApacheKafkaContainer(DockerContainer):
    """One broker with the settings of `environment` (the image's `KAFKA_*` variables), its client port on loopback.

    The port is chosen before the start, because the broker must advertise it.
    """

    def __init__(self, image: str, environment: Mapping[str, str], *, port: int) -> None:
        super().__init__(image)
        self.port = port
        for name, value in environment.items():
            self.with_env(name, value)
        self.with_env("KAFKA_LISTENERS", f"INSIDE://:19092,HOST://:{_CLIENT_PORT},CONTROLLER://localhost:9093")
        self.with_env("KAFKA_ADVERTISED_LISTENERS", f"INSIDE://localhost:19092,HOST://{self.bootstrap_servers}")
        bind_loopback(self, _CLIENT_PORT, port)
        self.waiting_for(LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(START_DEADLINE_S))

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self
