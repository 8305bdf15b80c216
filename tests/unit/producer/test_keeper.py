"""When a job is nothing to a producer any more."""

from typing import Any

import pytest

from headrace.kafka.records import RawRecord
from headrace.state.commands import Commands
from headrace.state.kbs import KnowledgeBases
from producer.keeper import Keeper
from schemas.codec import encode, headers_for
from tests.unit.consumer.made import command, generation


@pytest.mark.parametrize(
    ("state", "job_id", "over"),
    [(None, "job", False), ("open", "job", False), ("published", "job", True), ("undone", "job", True),
     ("open", "by-hand", True)],
)  # fmt: skip
def test_over(state: Any, job_id: str, over: bool) -> None:
    """Also where the generation is another job's: a page's record is keyed by it, and would replace that job's."""
    kbs, asked = KnowledgeBases(), command(job_id=job_id)
    if state is not None:
        event = generation(state)
        headers = tuple(headers_for(event, "test"))
        kbs.apply(RawRecord(topic="kbs", partition=0, offset=0, key=b"k", value=encode(event), headers=headers))

    async def caught_up() -> None:
        pass

    unused: Any = None
    assert Keeper(asked, Commands(), kbs, unused, caught_up).over(asked) is over
