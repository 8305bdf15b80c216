"""aiokafka on uvloop, where two things are not as on asyncio's own loop.

A connection that is closed while somebody is about to ask: asyncio's transport takes what is written after the close
and drops it; uvloop's raises RuntimeError, which aiokafka does not expect: neither its retries nor ours would see that
it is only Kafka that is away.

A connection under TLS that is closed: uvloop waits for the other side's word of farewell, behind data that nobody reads
any more, for up to 30 s (MagicStack/uvloop#471), and a consumer's `stop` waits with it.
"""

from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError

_send, _close = AIOKafkaConnection.send, AIOKafkaConnection.close


def mend_connections() -> None:
    """From here on such a write is a KafkaConnectionError, like any other to a broken connection.

    And a connection under TLS ends at once: whatever was asked has its answer by then, or is given up.
    """
    AIOKafkaConnection.send = _sent  # type: ignore[method-assign]
    AIOKafkaConnection.close = _closed  # type: ignore[method-assign]


def _closed(self: Any, reason: Any = None, exc: Any = None) -> Any:
    writer, encrypted = self._writer, self._ssl_context is not None  # a transport that is closed twice forgets its TLS
    done = _close(self, reason, exc)
    if writer is not None and encrypted:
        writer.transport.abort()
    return done


def _sent(self: Any, request: Any, expect_response: bool = True) -> Any:
    try:
        return _send(self, request, expect_response)
    except RuntimeError as exc:
        if self._writer is None or not self._writer.transport.is_closing():
            raise
        self.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"Connection at {self.host}:{self.port} is closed") from exc
