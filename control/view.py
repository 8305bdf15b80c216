"""What stands at one generation of a knowledge base."""

from typing import Any

import msgspec
from weaviate.classes.query import Filter

from control.books import Books
from schemas.kb import GenerationState


class View(msgspec.Struct, frozen=True):
    """Objects with born <= generation < retired, save what a deletion took away (`floor`) and undone generations wrote.

    What an undone generation retired still stands.
    """

    generation: int
    floor: int = 0
    undone: frozenset[int] = frozenset()

    @property
    def condition(self) -> Any:
        """As Weaviate's filter."""
        born, retired = Filter.by_property("born"), Filter.by_property("retired")
        undone = [each for each in sorted(self.undone) if each <= self.generation]
        clauses = [born.less_or_equal(self.generation), born.greater_than(self.floor)]
        clauses += [born.not_equal(each) for each in undone if self.floor < each]
        kept = [retired.greater_than(self.generation), *(retired.equal(each) for each in undone)]
        return Filter.all_of([*clauses, Filter.any_of(kept)])

    def stands(self, born: int, retired: int, *, at: int | None = None) -> bool:
        """At an earlier generation, where `at` names one."""
        generation = self.generation if at is None else at
        return self.has(born) and born <= generation and (retired > generation or retired in self.undone)

    def has(self, born: int) -> bool:
        """What this generation wrote belongs here."""
        return self.floor < born <= self.generation and born not in self.undone


def view_of(books: Books, at: GenerationState) -> View:
    kb = books.kbs.get(at.kb_id)
    return View(at.generation, kb.deleted_through if kb else 0, frozenset(books.kbs.undone(at.kb_id)))
