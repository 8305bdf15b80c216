"""KB definitions and generation states, as `kbs` has them."""

import logging
from collections.abc import Callable

from headrace.kafka.records import RawRecord
from schemas.codec import UndecodableRecord, decode
from schemas.kb import GenerationState, KbDefined

log = logging.getLogger(__name__)


class KnowledgeBases:
    """Folds `kbs`; `apply` goes to a Follower. A generation that is undone stays undone, whatever comes later."""

    def __init__(self, on_change: Callable[[KbDefined | GenerationState], None] = lambda event: None) -> None:
        self._kbs: dict[str, KbDefined] = {}
        self._generations: dict[tuple[str, int], GenerationState] = {}
        self._on_change = on_change

    def get(self, kb_id: str) -> KbDefined | None:
        return self._kbs.get(kb_id)

    def all(self) -> list[KbDefined]:
        return list(self._kbs.values())

    def generation(self, kb_id: str, generation: int) -> GenerationState | None:
        return self._generations.get((kb_id, generation))

    def generations(self, kb_id: str) -> list[GenerationState]:
        """Oldest first."""
        return [state for (kb, _), state in sorted(self._generations.items()) if kb == kb_id]

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
            place = (event.kb_id, event.generation)
            known = self._generations.get(place)
            if known and known.state == "undone" and event.state != "undone":
                return
            self._generations[place] = event
        else:
            return
        self._on_change(event)
