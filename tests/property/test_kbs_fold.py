"""`kbs`: a generation goes forward only, whoever writes late, before and after compaction."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from headrace.kafka.records import RawRecord
from headrace.state.kbs import KnowledgeBases
from schemas.identity import partition_for
from schemas.kb import GenerationState, KbDefined
from tests.property.log import Topic, cleaned, delivered
from tests.unit.consumer.made import DEFINITION, NOW

KBS = ("docs", "wiki")
PARTITIONS = 2
ORDER = ["open", "published", "undone"]


@st.composite
def histories(draw: st.DrawFn) -> Topic:
    """Definitions by control, states by consumers that may have slept, and the owner's repair of what those hide."""
    hidden: list[GenerationState] = []
    topic, known = Topic("kbs"), KnowledgeBases(on_hidden=hidden.append)
    for step in range(draw(st.integers(0, 20))):
        kb_id = draw(st.sampled_from(KBS))
        event = draw(st.sampled_from([_defined, _state]))(draw, kb_id, step)
        known.apply(topic.append(event, partition_for(kb_id, PARTITIONS)))
        while hidden:
            state = hidden.pop()
            known.apply(topic.append(state, partition_for(state.kb_id, PARTITIONS)))
        for partition in range(PARTITIONS):
            topic.mark(partition)
    return topic


def _defined(draw: st.DrawFn, kb_id: str, step: int) -> KbDefined:
    return KbDefined(
        kb_id=kb_id, definition=DEFINITION, last_generation=draw(st.integers(0, 3)),
        deleted_through=draw(st.integers(0, 2)), updated_at=NOW, updated_by=str(step),
    )  # fmt: skip


def _state(draw: st.DrawFn, kb_id: str, step: int) -> GenerationState:
    """Any writer, however late: `epoch` tells owners apart, `reason` records."""
    number = draw(st.integers(1, 3))
    state: Any = draw(st.sampled_from(ORDER))
    return GenerationState(
        kb_id=kb_id, generation=number, job_id=f"{kb_id}-{number}", state=state, base=None, collection="C",
        epoch=draw(st.integers(0, 3)), recrawl=draw(st.integers(-1, 1)), changed_at=NOW, reason=str(step),
    )  # fmt: skip


def state(records: list[RawRecord]) -> tuple[list[KbDefined], list[list[GenerationState]], list[Any]]:
    known = KnowledgeBases()
    for raw in records:
        known.apply(raw)
    definitions = sorted(known.all(), key=lambda kb: kb.kb_id)
    answers = [(known.published(kb_id), known.undone(kb_id)) for kb_id in KBS]
    return definitions, [known.generations(kb_id) for kb_id in KBS], answers


@given(st.data())
def test_the_order_of_partitions_and_repeats_do_not_show(data: st.DataObject) -> None:
    topic = data.draw(histories())
    straight = state([raw for log in topic.partitions.values() for raw in log])
    assert state(data.draw(delivered(topic.partitions.values()))) == straight


@given(st.data())
def test_a_new_reader_after_compaction_knows_what_an_old_one_knows(data: st.DataObject) -> None:
    topic = data.draw(histories())
    old = state([raw for log in topic.partitions.values() for raw in log])
    assert state([raw for log in data.draw(cleaned(topic)) for raw in log]) == old


@given(st.data())
def test_a_generation_goes_forward_only(data: st.DataObject) -> None:
    seen: list[GenerationState] = []
    known = KnowledgeBases(on_change=lambda event: seen.append(event) if isinstance(event, GenerationState) else None)
    for raw in data.draw(delivered(data.draw(histories()).partitions.values())):
        known.apply(raw)
    for kb_id in KBS:
        for number in (1, 2, 3):
            mine = [each for each in seen if (each.kb_id, each.generation) == (kb_id, number)]
            assert [each.state for each in mine] == sorted((each.state for each in mine), key=ORDER.index)
            for of in ("epoch", "recrawl"):
                asked = [getattr(each, of) for each in mine]
                assert asked == sorted(asked)


@given(st.sampled_from(ORDER), st.sampled_from([{"epoch": 1}, {"epoch": 2, "recrawl": -1}]), st.data())
def test_what_an_owner_that_was_cut_off_writes_has_no_effect(late: Any, less: Any, data: st.DataObject) -> None:
    hidden: list[GenerationState] = []
    topic, known = Topic("kbs"), KnowledgeBases(on_hidden=hidden.append)
    first = _state(data.draw, "docs", 0)
    newest = msgspec.structs.replace(first, state="open", epoch=2, recrawl=0)
    earlier = msgspec.structs.replace(newest, epoch=1, recrawl=-1)
    for event in (earlier, newest, msgspec.structs.replace(newest, state=late, **less)):
        known.apply(topic.append(event, 0))
    assert known.generation("docs", newest.generation) == newest
    assert known.hidden() == hidden == [newest], "so that its owner writes it again"
