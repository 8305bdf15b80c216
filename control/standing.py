"""Generations that can be asked about: neither undone, nor vacuumed, nor gone with a deletion."""

from dataclasses import dataclass

from control.books import Books
from control.problems import Gone, NotFound
from schemas.kb import GenerationState, KbDefined


@dataclass(frozen=True)
class Standing:
    """Of one knowledge base, now. `states` holds those of jobs that control started and no deletion took, oldest first.

    `undone` and `vacuumed_below` count from when control begins to write the command: the consumer may read it, and
    delete, before control has read it back.
    """

    kb_id: str
    deleted_through: int
    vacuumed_below: int
    undone: frozenset[int]
    states: tuple[GenerationState, ...]

    def published(self) -> list[GenerationState]:
        """Newest first, those that were vacuumed too."""
        return [s for s in reversed(self.states) if s.state == "published" and s.generation not in self.undone]

    def searched(self) -> GenerationState | None:
        """What a search sees that names none: the newest published one, else the newest open one."""
        opened = [s for s in reversed(self.states) if s.state == "open" and s.generation not in self.undone]
        return next(iter([*self.published(), *opened]), None)

    def named(self, wanted: int) -> GenerationState:
        """Raises Gone where it was vacuumed, NotFound where it was undone or never was."""
        if self.deleted_through < wanted < self.vacuumed_below:
            raise Gone(
                f"generation {wanted} of {self.kb_id} was vacuumed; the oldest that can be searched is "
                f"{self.vacuumed_below}",
                code="vacuumed-generation",
            )
        found = next((state for state in self.states if state.generation == wanted), None)
        if found is None:
            raise NotFound(f"{self.kb_id} has no generation {wanted}", code="unknown-generation")
        if wanted in self.undone:
            raise NotFound(f"generation {wanted} of {self.kb_id} was undone", code="undone-generation")
        return found

    def has(self, generation: int) -> bool:
        """Whether all that it shows is still there."""
        found = any(state.generation == generation for state in self.states)
        return found and generation >= self.vacuumed_below and generation not in self.undone


def standing(books: Books, kb_id: str) -> Standing:
    """Raises NotFound where the knowledge base was deleted, or never was."""
    kb = known(books.record(kb_id), kb_id)
    return Standing(
        kb_id,
        kb.deleted_through,
        kb.vacuumed_below,
        books.undone(kb_id),
        tuple(
            state
            for state in books.kbs.generations(kb_id)
            if state.generation > kb.deleted_through and books.commands.get(state.job_id) is not None
        ),
    )


def known(kb: KbDefined | None, kb_id: str) -> KbDefined:
    """Raises NotFound where it was deleted, or never was."""
    if kb is None or kb.deleted:
        raise NotFound(
            f"there is no knowledge base {kb_id!r}; define it with PUT /api/ingestion/kb/{kb_id}, "
            "or start it with its definition as the body",
            code="unknown-kb",
        )
    return kb
