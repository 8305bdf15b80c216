"""`refusal`: which command may follow which, the one judge in every service."""

import itertools
import json
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

import schemas
from schemas.codec import decode
from schemas.commands import ALLOWED, Desired, JobCommand, refusal, stands_on
from schemas.kb import Embedding

EXAMPLE = Path(schemas.__file__).parent / "examples" / "job_command.v1.json"
STATES: tuple[Desired, ...] = get_args(Desired)


def command(**changed: Any) -> JobCommand:
    event = decode("commands", None, json.dumps(json.loads(EXAMPLE.read_bytes()) | changed).encode())
    assert isinstance(event, JobCommand)
    return event


@pytest.mark.parametrize(
    ("now", "then", "allowed"),
    [
        ("running", "running", True),
        ("running", "paused", True),
        ("running", "cancelled", True),
        ("paused", "running", True),
        ("paused", "paused", True),
        ("paused", "cancelled", True),
        ("cancelled", "running", False),
        ("cancelled", "paused", False),
        ("cancelled", "cancelled", True),
        ("running", "rolled_back", True),
        ("cancelled", "rolled_back", True),
        ("rolled_back", "running", False),
        ("rolled_back", "cancelled", False),
    ],
)
def test_transitions(now: Desired, then: Desired, allowed: bool) -> None:
    found = refusal(command(desired=now, revision=4), command(desired=then, revision=5))
    assert found == (None if allowed else f"a {now} job can't become {then}")


def test_the_table_of_transitions_is_whole() -> None:
    assert set(ALLOWED) == set(STATES)
    pairs = itertools.product(STATES, STATES)
    assert [refusal(command(desired=a), command(desired=b, revision=3)) for a, b in pairs].count(None) == 11


@pytest.mark.parametrize("revision", [-1, 0, 1, 2, 4, 5, 100])
def test_a_revision_must_be_the_next_one(revision: int) -> None:
    found = refusal(command(revision=2, reason="then"), command(revision=revision, reason="now"))
    assert found == f"revision {revision} does not follow 2"


def test_a_copy_of_the_command_in_force_is_harmless() -> None:
    """Control writes it again when an invalid record hides it."""
    assert refusal(command(), command()) is None


@pytest.mark.parametrize(("revision", "refused"), [(0, True), (-3, True), (1, False), (7, False)])
def test_the_first_one_seen_may_have_any_revision(revision: int, refused: bool) -> None:
    """Compaction removes those before it."""
    assert (refusal(None, command(revision=revision)) is not None) == refused


@pytest.mark.parametrize(
    ("field", "value"), [("job_id", "other"), ("kb_id", "other"), ("generation", 3), ("base", None), ("partition", 0)]
)
def test_what_a_start_fixes_never_changes(field: str, value: object) -> None:
    found = refusal(command(revision=2), command(revision=3, **{field: value}))
    assert found == f"{field} of a job never change"


def test_a_job_embeds_texts_anew_or_keeps_chunks() -> None:
    anew = command(base=None, reembeds=1)
    assert refusal(None, anew) is None
    both = refusal(None, command(base=1, reembeds=1))
    assert both == "it can't keep chunks of generation 1 and embed generation 1 anew"
    changed = refusal(anew, command(base=None, reembeds=None, revision=anew.revision + 1))
    assert changed == "reembeds of a job never change"
    assert [stands_on(each) for each in (anew, command(base=1), command(base=None))] == [1, 1, None]


def test_all_that_changed_is_named() -> None:
    found = refusal(command(revision=2), command(revision=3, generation=9, partition=0))
    assert found == "generation, partition of a job never change"


def test_settings_may_change_while_a_job_lives() -> None:
    now = command(revision=2)
    crawl = msgspec.structs.replace(now.definition.crawl, delay_s=5.0)
    definition = msgspec.structs.replace(now.definition, crawl=crawl)
    assert refusal(now, msgspec.structs.replace(now, revision=3, definition=definition)) is None


def test_what_vectors_and_chunks_are_made_of_never_changes() -> None:
    now = command(revision=2)
    embedding = msgspec.structs.replace(now.definition.embedding, model="another")
    definition = msgspec.structs.replace(now.definition, embedding=embedding)
    found = refusal(now, msgspec.structs.replace(now, revision=3, definition=definition))
    assert found == "embedding of a job never change"


def test_a_default_left_open_is_refused() -> None:
    definition = msgspec.structs.replace(command().definition, embedding=Embedding())
    found = refusal(None, msgspec.structs.replace(command(), definition=definition))
    assert found is not None and found.startswith("embedding.provider, embedding.model, embedding.dimensions must be")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"model": "мини"}, "is no model"),
        ({"model": "x" * 129}, "is no model"),
        ({"dimensions": 0}, "is no model"),
        ({"dimensions": 2**40}, "is no model"),
    ],
)
def test_a_model_that_no_collection_can_be_named_after_is_refused(changed: Any, says: str) -> None:
    embedding = msgspec.structs.replace(command().definition.embedding, **changed)
    definition = msgspec.structs.replace(command().definition, embedding=embedding)
    assert says in (refusal(None, msgspec.structs.replace(command(), definition=definition)) or "")


def test_a_collection_is_one_that_weaviate_takes_and_never_changes() -> None:
    assert refusal(None, command(collection="Headrace_x_8")) is None
    assert "is no collection" in (refusal(None, command(collection="../x")) or "")
    changed = refusal(command(revision=2), command(revision=3, collection="Headrace_x_8"))
    assert changed == "collection of a job never change"


def test_a_kb_id_that_is_no_slug_is_refused() -> None:
    assert refusal(None, command(kb_id="../up")) == "kb_id '../up' is not a slug"
