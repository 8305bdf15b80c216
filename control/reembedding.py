"""Another model for what is stored: what may be commanded, and which model a definition names after it. Pure."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from control.problems import Conflict, Invalid
from control.rules import Job, Origin, audit, check_idle, first_command, kb_audit, resolved
from schemas import kb
from schemas.commands import JobCommand
from schemas.facts import CommandIssued, KbChanged
from schemas.kb import Definition, Embedding, GenerationState, KbDefined


def reembed(
    known: KbDefined,
    jobs: Sequence[Job],
    embedding: Embedding | None,
    *,
    job_id: str,
    partitions: int,
    published: GenerationState | None,
    published_by: JobCommand | None,
    openai_available: bool,
    origin: Origin,
) -> tuple[KbDefined, JobCommand, CommandIssued]:
    """What one transaction writes to embed the published generation's texts by `embedding`; None: by the definition's.

    `published_by` as in `start`. The texts stay as they were crawled and cut, whatever the definition says by now.
    """
    check_idle(known, jobs)
    if published is None or published_by is None:
        raise Conflict(
            f"{known.kb_id} has no published generation, so there are no texts to embed anew; start a job",
            code="not-published",
        )
    made = published_by.definition
    wanted = msgspec.structs.replace(
        known.definition,
        source=made.source,
        crawl=made.crawl,
        chunking=made.chunking,
        embedding=embedding or known.definition.embedding,
    )
    definition = _cut_alike(made, resolved(wanted, openai_available=openai_available))
    model, name = definition.embedding.model, f"generation {published.generation}"
    if kb.collection_name(definition.embedding) == published.collection:
        raise Conflict(f"{name} of {known.kb_id} is embedded by {model} already", code="same-embedding")
    command = first_command(
        known,
        definition,
        job_id=job_id,
        partitions=partitions,
        reembeds=published.generation,
        extractor=published_by.extractor,
        origin=replace(origin, reason=origin.reason or f"embeds the texts of {name} by {model}"),
    )
    counted = msgspec.structs.replace(known, last_generation=command.generation, reembedding=command.generation)
    return counted, command, audit(command, "start")


def switched(known: KbDefined, to: JobCommand, *, at: str, by: str) -> KbDefined:
    """The KB's record with the embedding of `to`, whose generation comes to be searched by a reembedding, or its undo.

    So that a refresh builds on it, the definition asks for the chunking that its chunks have, save where it asks for
    another.
    """
    definition, chunking = known.definition, kb.cut_by(to.definition)
    asks = {name: getattr(definition.chunking, name) for name in definition.chunking.__struct_fields__}
    alike = all(value in (None, getattr(chunking, name)) for name, value in asks.items())
    definition = msgspec.structs.replace(
        definition,
        embedding=to.definition.embedding,
        chunking=to.definition.chunking if alike else definition.chunking,
    )
    return msgspec.structs.replace(known, definition=definition, reembedding=None, updated_at=at, updated_by=by)


def switch(known: KbDefined, to: JobCommand, *, at: str) -> tuple[KbDefined, KbChanged]:
    """What one transaction writes for that."""
    defined, embedding = switched(known, to, at=at, by="control"), to.definition.embedding
    reason = f"generation {to.generation} is embedded by {embedding.model}, {embedding.dimensions} dimensions"
    return defined, kb_audit(defined, "define", reason)


def _cut_alike(made: Definition, definition: Definition) -> Definition:
    """`definition` with the chunking of `made`, in the tokens that it was counted in. Raises Invalid where the model
    doesn't read as much."""
    embedding, cut = definition.embedding, kb.cut_by(made)
    if embedding.provider == "local" and (cut.max_tokens or 0) > kb.LOCAL_MAX_TOKENS:
        raise Invalid(
            f"embedding.model {embedding.model} reads {kb.LOCAL_MAX_TOKENS} tokens of a text, and the stored ones have "
            f"up to {cut.max_tokens}: define the knowledge base with it, and start a job to cut its pages anew",
            code="texts-too-long",
        )
    own = cut.tokenizer == kb.tokenizer_of(embedding.model)
    return msgspec.structs.replace(definition, chunking=msgspec.structs.replace(cut, tokenizer=None) if own else cut)
