"""aiokafka on uvloop: a connection that is closed while somebody is about to ask.

asyncio's own transport takes what is written after the close and drops it; uvloop's raises RuntimeError, which aiokafka
does not expect: neither its retries nor ours would see that it is only Kafka that is away.
"""

from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError

_send = AIOKafkaConnection.send


def expect_closed_connections() -> None:
    """From here on such a write is a KafkaConnectionError, like any other to a broken connection."""
    AIOKafkaConnection.send = _sent  # type: ignore[method-assign]


def _sent(self: Any, request: Any, expect_response: bool = True) -> Any:
    try:
        return _send(self, request, expect_response)
    except RuntimeError as exc:
        if self._writer is None or not self._writer.transport.is_closing():
            raise
        self.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"Connection at {self.host}:{self.port} is closed") from exc
