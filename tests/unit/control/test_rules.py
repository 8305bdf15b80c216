"""What may be commanded: decisions from facts, without a log."""

from typing import Any

import msgspec
import pytest

from control import rules
from control.problems import Conflict, Invalid
from control.rules import Job, Origin
from schemas.commands import JobCommand, refusal
from schemas.identity import partition_for
from schemas.kb import (
    Chunking,
    Crawl,
    Definition,
    Embedding,
    GenerationState,
    KbDefined,
    Publish,
    Source,
    former_collection_name,
)
from schemas.pages import EXTRACTOR

DEFINITION = Definition(source=Source(urls=("https://example.org/",)))
KB = KbDefined(kb_id="docs", definition=DEFINITION, last_generation=6, updated_at="t", updated_by="t")
ORIGIN = Origin("now", "test", "because", "key", "digest")
LOCAL = rules.resolved(DEFINITION, openai_available=False)


def command(**fields: Any) -> JobCommand:
    values: dict[str, Any] = {
        "job_id": "j", "kb_id": "docs", "generation": 6, "partition": 0, "desired": "running", "revision": 3,
        "definition": LOCAL, "issued_at": "t", "issued_by": "t", "idempotency_key": "key", "request_digest": "digest",
        "extractor": EXTRACTOR,
    }  # fmt: skip
    return JobCommand(**values | fields)


def state(of: str, generation: int = 6) -> GenerationState:
    return GenerationState(
        kb_id="docs", generation=generation, job_id="j", state=of, base=None, collection="C", changed_at="t"
    )


def started(jobs: list[Job] | None = None, **known: Any) -> tuple[KbDefined, JobCommand, Any]:
    values: dict[str, Any] = {
        "job_id": "new", "partitions": 6, "published": None, "published_by": None, "openai_available": False,
        "origin": ORIGIN,
    }  # fmt: skip
    return rules.start(known.pop("kb", KB), jobs or [], **values | known)


def test_a_start_uses_the_next_generation_and_says_everything() -> None:
    kb, new, issued = started()
    assert (kb.last_generation, new.generation, new.revision, new.desired) == (7, 7, 1, "running")
    assert new.partition == partition_for("new", 6)
    assert new.definition.embedding == Embedding(provider="local", model="all-MiniLM-L6-v2", dimensions=384)
    assert new.definition.chunking.max_tokens == 256
    assert (issued.action, issued.idempotency_key, issued.reason) == ("start", "key", "because")


@pytest.mark.parametrize(
    ("busy", "may_be"), [([], {0, 1, 2}), ([1], {0, 2}), ([0, 0, 1, 1, 2], {2}), ([0, 1, 2], {0, 1, 2})]
)
def test_a_new_job_goes_where_the_fewest_are_active(busy: list[int], may_be: set[int]) -> None:
    _, command, _ = started()
    active = [msgspec.structs.replace(command, partition=partition) for partition in busy]
    drawn = {partition_for(rules.job_id_beside(active, 3), 3) for _ in range(40)}
    assert drawn == may_be


def test_an_endpoint_that_the_environment_lacks_is_refused() -> None:
    of = msgspec.structs.replace(KB.definition, embedding=Embedding(provider="openai", model="m", endpoint="tei"))
    rules.check_endpoint(of, frozenset({"tei"}))
    with pytest.raises(
        Invalid, match=r"'tei' is not known here \(azure\): add tei=<base URL> to HEADRACE_EMBEDDING_END"
    ):
        rules.check_endpoint(of, frozenset({"azure"}))


def test_another_server_for_the_same_model_keeps_the_base() -> None:
    one = msgspec.structs.replace(KB.definition, embedding=Embedding(provider="openai", model="m", dimensions=8))
    other = msgspec.structs.replace(one, embedding=msgspec.structs.replace(one.embedding, endpoint="tei"))
    assert rules.builds_on(one, other) and rules.builds_on(other, one)


def test_openai_is_the_default_where_a_key_is_set() -> None:
    _, new, _ = started(openai_available=True)
    assert new.definition.embedding.provider == "openai"


@pytest.mark.parametrize(
    ("changed", "base"),
    [
        ({}, 5),
        ({"embedding": Embedding(provider="openai", model="text-embedding-3-small", dimensions=1536)}, None),
        ({"chunking": Chunking(max_tokens=128)}, None),
    ],
)
def test_base_is_the_published_generation_of_the_same_profile(changed: dict[str, Any], base: int | None) -> None:
    before = msgspec.structs.replace(LOCAL, **changed)
    _, new, _ = started(published=state("published", 5), published_by=command(definition=before))
    assert new.base == base


def test_what_another_extractor_made_is_no_base() -> None:
    _, new, _ = started(published=state("published", 5), published_by=command(extractor=EXTRACTOR - 1))
    assert (new.base, new.extractor) == (None, EXTRACTOR)


def test_what_stands_in_another_collection_is_no_base() -> None:
    """A job from before commands named their collection, with a model whose name was ambiguous there."""
    profile = Embedding(provider="openai", model="bge-1.5", dimensions=8)
    before = msgspec.structs.replace(LOCAL, embedding=profile)
    kb = msgspec.structs.replace(KB, definition=before)
    known = {"kb": kb, "published": state("published", 5)}
    _, new, _ = started(**known, published_by=command(definition=before))
    assert new.base is None and new.collection != former_collection_name(profile)
    assert started(**known, published_by=command(definition=before, collection=new.collection))[1].base == 5


def test_without_the_published_job_known_there_is_no_base() -> None:
    assert started(published=state("published", 5))[1].base is None


@pytest.mark.parametrize("word", ["active", "paused", "being cancelled", "being undone"])
def test_one_active_job_per_kb(word: str) -> None:
    job = {
        "active": Job(command()),
        "paused": Job(command(desired="paused")),
        "being cancelled": Job(command(desired="cancelled"), undoing=True),
        "being undone": Job(command(), undoing=True),
    }[word]
    with pytest.raises(Conflict, match=word):
        started([job])
    with pytest.raises(Conflict, match=word):
        rules.delete(KB, [job], at="t", by="t")


def test_a_job_that_is_over_does_not_stand_in_the_way() -> None:
    assert started([Job(command(), "completed")])[1].generation == 7


def approve(job: Job, digest: str | None = None) -> Any:
    return rules.approve(job, digest, origin=ORIGIN)


def change(job: Job, action: rules.Action, definition: Definition | None = DEFINITION) -> Any:
    return rules.change(job, action, definition=definition, openai_available=False, origin=ORIGIN)


@pytest.mark.parametrize(
    ("desired", "action", "becomes"),
    [
        ("running", "pause", "paused"), ("running", "resume", None), ("running", "cancel", "cancelled"),
        ("paused", "pause", None), ("paused", "resume", "running"), ("paused", "cancel", "cancelled"),
        ("cancelled", "cancel", None),
    ],
)  # fmt: skip
def test_change(desired: str, action: rules.Action, becomes: str | None) -> None:
    before = command(desired=desired)
    changed = change(Job(before), action)
    if becomes is None:
        assert changed is None
        return
    after, issued = changed
    assert (after.desired, after.revision, issued.action) == (becomes, 4, action)
    assert (after.idempotency_key, after.request_digest) == ("key", "digest")
    assert refusal(before, after) is None


@pytest.mark.parametrize("action", ["pause", "resume"])
def test_a_cancelled_job_stays_cancelled(action: rules.Action) -> None:
    with pytest.raises(Conflict, match="final"):
        change(Job(command(desired="cancelled"), undoing=True), action)


@pytest.mark.parametrize("action", ["pause", "resume", "cancel"])
@pytest.mark.parametrize("end", ["completed", "failed"])
def test_a_finished_job_takes_no_command(action: rules.Action, end: Any) -> None:
    with pytest.raises(Conflict, match=f"is {end}"):
        change(Job(command(), end), action)


def test_cancel_of_a_cancelled_job_is_harmless() -> None:
    assert change(Job(command(desired="cancelled"), "cancelled"), "cancel") is None


def test_resume_takes_the_definition_as_it_is_now_save_embedding_and_chunking() -> None:
    wanted = Definition(
        source=Source(urls=("https://example.org/",), max_pages=3),
        embedding=Embedding(provider="openai", model="text-embedding-3-large"),
        chunking=Chunking(max_tokens=100),
    )
    after, _ = change(Job(command(desired="paused")), "resume", wanted)
    assert after.definition.source.max_pages == 3
    assert (after.definition.embedding, after.definition.chunking) == (LOCAL.embedding, LOCAL.chunking)


@pytest.mark.parametrize(
    ("changed", "scope_revision"),
    [
        ({"source": Source(urls=("https://example.org/",), max_pages=3)}, 4),
        ({"crawl": Crawl(respect_robots=False)}, 4),
        ({"crawl": Crawl(delay_s=3)}, 1),
        ({"publish": Publish(max_vanished_share=1)}, 1),
    ],
)
def test_another_scope_is_crawled_anew(changed: dict[str, Any], scope_revision: int) -> None:
    wanted = msgspec.structs.replace(DEFINITION, **changed)
    after, _ = change(Job(command(desired="paused")), "resume", wanted)
    assert after.scope_revision == scope_revision


def test_approve_names_the_manifest_that_was_seen() -> None:
    after, issued = approve(Job(command(), review="abc"), "abc")
    assert (after.approved, after.desired, after.revision, issued.action) == ("abc", "running", 4, "approve")
    assert refusal(command(), after) is None
    assert approve(Job(after)) is None and approve(Job(after), "abc") is None
    with pytest.raises(Conflict, match="under review is abc"):
        approve(Job(command(), review="abc"), "other")
    with pytest.raises(Conflict, match="nothing to approve"):
        approve(Job(after), "other")


@pytest.mark.parametrize(
    "job",
    [
        Job(command()),
        Job(command(desired="paused"), review="abc"),
        Job(command(), "completed"),
        Job(command(approved="abc"), "completed"),
        Job(command(desired="cancelled"), undoing=True, review="abc"),
    ],
)
def test_without_a_review_there_is_nothing_to_approve(job: Job) -> None:
    with pytest.raises(Conflict, match="nothing to approve"):
        approve(job)


def test_a_job_that_waits_for_a_review_says_so() -> None:
    with pytest.raises(Conflict, match="waiting for a review"):
        started([Job(command(), review="abc")])


OLD, NEW = Job(command(generation=5, job_id="old"), "completed"), Job(command(), "completed")
BOTH = [state("published", 6), state("published", 5)]


def rollback(*jobs: Job, wanted: int | None = None, kb: KbDefined = KB, published: Any = BOTH) -> Any:
    return rules.rollback(kb, jobs or (NEW, OLD), published=published, wanted=wanted, origin=ORIGIN)


@pytest.mark.parametrize("wanted", [None, 6])
def test_rollback_undoes_the_newest_published_generation(wanted: int | None) -> None:
    after, issued = rollback(wanted=wanted)
    assert (after.generation, after.desired, after.revision, issued.action) == (6, "rolled_back", 4, "rollback")
    assert refusal(command(), after) is None


def test_a_generation_whose_cancel_came_too_late_can_be_rolled_back() -> None:
    cancelled = command(desired="cancelled")
    after, _ = rollback(Job(cancelled, "completed"))
    assert refusal(cancelled, after) is None


def test_a_repeated_rollback_undoes_no_second_generation() -> None:
    under_way = Job(command(desired="rolled_back"), undoing=True)
    left = [state("published", 5), state("published", 4)]
    assert rollback(under_way, published=left) == under_way.command
    assert rollback(under_way, wanted=6, published=left) == under_way.command
    done = Job(command(desired="rolled_back"), "cancelled")
    assert rollback(done, OLD, wanted=6, published=left) == done.command
    after, _ = rollback(done, OLD, published=left)
    assert after.generation == 5


@pytest.mark.parametrize(
    ("jobs", "changed", "why"),
    [
        ((Job(command(generation=7)), NEW), {}, "active"),
        ((Job(command(desired="rolled_back"), undoing=True), OLD), {"wanted": 5}, "rolled back"),
        ((), {"wanted": 5}, "newest published generation"),
        ((), {"published": []}, "newest published generation"),
        ((), {"published": BOTH[:1]}, "none to go back to"),
        ((), {"kb": msgspec.structs.replace(KB, vacuumed_below=6)}, "vacuumed"),
    ],
)
def test_what_can_not_be_rolled_back(jobs: Any, changed: dict[str, Any], why: str) -> None:
    with pytest.raises(Conflict, match=why):
        rollback(*jobs, **changed)


def vacuum(*jobs: Job, keep: int = 1, below: int | None = None, kb: KbDefined = KB, published: Any = BOTH) -> int:
    return rules.vacuum(kb, jobs, published=published, keep=keep, below=below, at="t", by="t").vacuumed_below


def test_vacuum_raises_the_floor_and_never_lowers_it() -> None:
    assert [vacuum(), vacuum(keep=2), vacuum(keep=9), vacuum(below=3)] == [6, 5, 5, 3]
    assert vacuum(keep=2, kb=msgspec.structs.replace(KB, vacuumed_below=6)) == 6
    assert rules.define("docs", msgspec.structs.replace(KB, vacuumed_below=6), DEFINITION, at="", by="").vacuumed_below


@pytest.mark.parametrize(
    ("jobs", "changed", "why"),
    [
        ((), {"published": []}, "no published generation"),
        ((), {"below": 7}, "searches see"),
        ((Job(command(generation=7, base=5)),), {}, "active"),
        ((Job(command(generation=7, reembeds=5)),), {}, "active"),
        ((Job(command(desired="rolled_back"), undoing=True),), {}, "rolled back"),
    ],
)
def test_what_can_not_be_vacuumed(jobs: Any, changed: dict[str, Any], why: str) -> None:
    with pytest.raises(Conflict, match=why):
        vacuum(*jobs, **changed)


def test_a_job_on_a_newer_base_does_not_hold_vacuum_up() -> None:
    assert vacuum(Job(command(generation=7, base=6))) == 6
    assert vacuum(Job(command(generation=7, base=None))) == 6


def test_restore_is_the_same_command_again() -> None:
    standing, issued = rules.restore(command(), origin=ORIGIN)
    assert standing == command() and issued.action == "restore" and issued.reason == "because"


@pytest.mark.parametrize(
    ("desired", "outcome", "undone", "generation", "end", "undoing"),
    [
        ("running", None, None, None, None, False),
        ("running", None, None, "open", None, False),
        ("running", None, None, "published", "completed", False),
        ("running", "completed", None, "published", "completed", False),
        ("running", "completed_with_errors", None, "published", "completed", False),
        ("running", "completed", None, "undone", "completed", False),
        ("running", None, None, "undone", None, True),
        ("running", "failed", None, "undone", "failed", False),
        ("cancelled", None, None, "undone", None, True),
        ("cancelled", None, 2, "undone", None, True),
        ("cancelled", None, 3, "undone", "cancelled", False),
        ("cancelled", "completed", None, "published", "completed", False),
        ("cancelled", None, None, "published", None, False),
        ("cancelled", "completed", None, "undone", None, True),
        ("cancelled", "completed", 3, "undone", "cancelled", False),
        ("cancelled", "failed", None, "undone", "failed", False),
        ("rolled_back", "completed", None, "published", None, True),
        ("rolled_back", "completed", 2, "undone", None, True),
        ("rolled_back", "completed", 3, "undone", "cancelled", False),
    ],
)
def test_job_end(
    desired: str, outcome: str | None, undone: int | None, generation: str | None, end: str | None, undoing: bool
) -> None:
    told = command(desired=desired)
    job = rules.job_end(
        told, outcome=outcome, undone_revision=undone, generation=state(generation) if generation else None
    )
    assert (job.end, job.undoing) == (end, undoing)


def test_an_idempotency_key_belongs_to_one_request() -> None:
    rules.same_request(command(), "docs", "digest")
    with pytest.raises(Invalid, match="another knowledge base"):
        rules.same_request(command(), "other", "digest")
    with pytest.raises(Invalid, match="another body"):
        rules.same_request(command(), "docs", "other")


def test_a_deleted_kb_comes_back_with_its_numbers_used_up() -> None:
    gone = rules.delete(KB, [], at="t", by="t")
    assert (gone.deleted, gone.deleted_through, gone.last_generation) == (True, 6, 6)
    again = rules.define("docs", gone, DEFINITION, at="t", by="t")
    assert (again.deleted, again.deleted_through, again.last_generation) == (False, 6, 6)
