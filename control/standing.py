"""Generations that can be asked about: neither undone, nor vacuumed, nor gone with a deletion."""

from control.problems import Gone, NotFound
from headrace.state.kbs import KnowledgeBases
from schemas.kb import GenerationState


def standing(kbs: KnowledgeBases, kb_id: str) -> list[GenerationState]:
    """Those that no deletion took, oldest first."""
    kb = kbs.get(kb_id)
    return [state for state in kbs.generations(kb_id) if state.generation > (kb.deleted_through if kb else 0)]


def named(kbs: KnowledgeBases, kb_id: str, wanted: int) -> GenerationState:
    """Raises Gone where it was vacuumed, NotFound where it was undone or never was."""
    kb = kbs.get(kb_id)
    if kb is not None and kb.deleted_through < wanted < kb.vacuumed_below:
        raise Gone(
            f"generation {wanted} of {kb_id} was vacuumed; the oldest that can be searched is {kb.vacuumed_below}",
            code="vacuumed-generation",
        )
    found = next((state for state in standing(kbs, kb_id) if state.generation == wanted), None)
    if found is None:
        raise NotFound(f"{kb_id} has no generation {wanted}", code="unknown-generation")
    if found.state == "undone":
        raise NotFound(f"generation {wanted} of {kb_id} was undone", code="undone-generation")
    return found
