"""KB definitions and generation states, as `kbs` has them."""

import logging
from collections.abc import Callable

from headrace.kafka.records import RawRecord
from schemas.codec import UndecodableRecord, decode
from schemas.kb import GenerationState, KbDefined

log = logging.getLogger(__name__)

_ORDER = {"open": 0, "published": 1, "undone": 2}


class KnowledgeBases:
    """Folds `kbs`; `apply` goes to a Follower. A generation goes from open to published to undone, never back.

    A record that would take it back comes from a worker that slept. Compaction would keep that one alone:
    `on_hidden(state)` is called with the state it hides, and `hidden` names those that still are, so that the owner
    writes them again. `changes`: how many there were.
    """

    def __init__(
        self,
        on_change: Callable[[KbDefined | GenerationState], None] = lambda event: None,
        on_hidden: Callable[[GenerationState], None] = lambda state: None,
    ) -> None:
        self._kbs: dict[str, KbDefined] = {}
        self._generations: dict[str, dict[int, GenerationState]] = {}
        self._hidden: dict[tuple[str, int], GenerationState] = {}
        self._on_change, self._on_hidden = on_change, on_hidden
        self.changes = 0

    def get(self, kb_id: str) -> KbDefined | None:
        return self._kbs.get(kb_id)

    def all(self) -> list[KbDefined]:
        return list(self._kbs.values())

    def generation(self, kb_id: str, generation: int) -> GenerationState | None:
        return self._generations.get(kb_id, {}).get(generation)

    def generations(self, kb_id: str) -> list[GenerationState]:
        """Oldest first."""
        return [state for _, state in sorted(self._generations.get(kb_id, {}).items())]

    def undone_since(self, instant: str) -> list[GenerationState]:
        """Generations undone at `instant` (as `codec.now` writes it) or later."""
        every = (state for of_kb in self._generations.values() for state in of_kb.values())
        return [state for state in every if state.state == "undone" and state.changed_at >= instant]

    def hidden(self) -> list[GenerationState]:
        """What generations are though their last record says something earlier."""
        return list(self._hidden.values())

    def published(self, kb_id: str) -> GenerationState | None:
        """The generation that searches see: the highest published one that no deletion took, or None."""
        return next(iter(self.published_all(kb_id)), None)

    def published_all(self, kb_id: str) -> list[GenerationState]:
        """Those published that no deletion took, newest first."""
        kb = self._kbs.get(kb_id)
        floor = kb.deleted_through if kb else 0
        return [s for s in reversed(self.generations(kb_id)) if s.state == "published" and s.generation > floor]

    def undone(self, kb_id: str) -> frozenset[int]:
        return frozenset(state.generation for state in self.generations(kb_id) if state.state == "undone")

    def apply(self, raw: RawRecord) -> None:
        if raw.value is None:
            return
        try:
            event = decode("kbs", raw.headers, raw.value)
        except UndecodableRecord as exc:
            log.warning("kbs %d/%d is passed over: %s", raw.partition, raw.offset, exc)
            return
        if isinstance(event, KbDefined):
            self._kbs[event.kb_id] = event
        elif isinstance(event, GenerationState):
            if self._hides(event):
                return
            self._generations.setdefault(event.kb_id, {})[event.generation] = event
        else:
            return
        self.changes += 1
        self._on_change(event)

    def _hides(self, event: GenerationState) -> bool:
        """Whether the record would take its generation back: it has no effect but to hide what stands before it."""
        known, place = self.generation(event.kb_id, event.generation), (event.kb_id, event.generation)
        if known is None or not _takes_back(event, known):
            self._hidden.pop(place, None)
            return False
        self._hidden[place] = known
        self._on_hidden(known)
        return True


def _takes_back(event: GenerationState, known: GenerationState) -> bool:
    """A generation is its newest owner's, and a crawl that was asked to begin anew stays asked.

    What an owner that was cut off made of it (published, undone) is of a crawl that no longer counts. Where a command
    asks for the undo, the newest owner writes it too.
    """
    older = event.epoch < known.epoch or event.recrawl < known.recrawl
    return older or _ORDER[event.state] < _ORDER[known.state]
