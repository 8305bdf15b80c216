"""What a job has spent, as its calls on `events` tell, and what its budget leaves; pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from headrace.counted import counted
from headrace.prices import pico_usd_of, total, usd
from schemas.events import Event
from schemas.facts import CallReserved, CallSettled
from schemas.kb import LOCAL_MODELS, OPENAI_MODELS, Budget, Embedding

SPECIAL_TOKENS = 4
"""More than a text gains in tokens by its begin and end marks, and than sums of parts may lack of the whole."""
LOCAL_MAX_TOKENS = 258
"""The local model reads no more of a text."""


@dataclass(frozen=True)
class Sum:
    """Tokens and trillionths of a dollar; None where a price is not known."""

    tokens: int = 0
    pico_usd: int | None = 0

    def plus(self, other: "Sum") -> "Sum":
        return Sum(self.tokens + other.tokens, total((self.pico_usd, other.pico_usd)))


@dataclass
class Account:
    """`open`: calls by id at their upper bound, which are under way or of which no end was ever told.

    pico_usd_per_token: what a call counts at that was made while nobody knew the price.
    """

    settled: Sum = Sum()
    open: dict[str, Sum] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)
    pico_usd_per_token: int | None = None

    def apply(self, event: Event) -> None:
        """In the order of the log, or any other."""
        if isinstance(event, CallSettled) and event.call_id not in self._known:
            self._known.add(event.call_id)
            self.open.pop(event.call_id, None)
            self.settled = self.settled.plus(self._sum(event.tokens, event.pico_usd))
        elif isinstance(event, CallReserved) and event.call_id not in self._known:
            self.open[event.call_id] = self._sum(event.max_tokens, event.max_pico_usd)

    def _sum(self, tokens: int, pico_usd: int | None) -> Sum:
        if pico_usd is None and self.pico_usd_per_token is not None:
            pico_usd = tokens * self.pico_usd_per_token
        return Sum(tokens, pico_usd)

    def spent(self, without: Iterable[str] = ()) -> Sum:
        """All that is settled, and what is open, save these calls."""
        left_out, spent = frozenset(without), self.settled
        for call_id, most in self.open.items():
            if call_id not in left_out:
                spent = spent.plus(most)
        return spent


def passes(budget: Budget, account: Account, following: Sum, without: Iterable[str] = ()) -> str | None:
    """Why the next call may not be made, were these calls not; None where it may."""
    spent = account.spent(without)
    after, open_tokens = spent.plus(following), spent.tokens - account.settled.tokens
    of_them = f" ({counted(open_tokens, 'token')} of it in calls that are not settled)" if open_tokens else ""
    if budget.max_tokens is not None and after.tokens > budget.max_tokens:
        return (
            f"budget: {spent.tokens:,} of {budget.max_tokens:,} tokens are spent{of_them}, and the next call may take "
            f"{following.tokens:,}; raise budget.max_tokens and resume"
        )
    if budget.max_usd is None:
        return None
    if after.pico_usd is None:
        return (
            "budget: it is in dollars, and the price of the model is not known; set HEADRACE_PRICES, restart control "
            "and the consumer, and resume; or give budget.max_tokens instead"
        )
    if after.pico_usd > pico_usd_of(budget.max_usd):
        return (
            f"budget: ${_dollars(spent)} of ${budget.max_usd:g} are spent{of_them}, and the next call may cost "
            f"${_dollars(following)}; raise budget.max_usd and resume"
        )
    return None


def most_tokens(embedding: Embedding, texts: Iterable[tuple[str, int]]) -> int:
    """Of a call with these texts, of which each comes with the tokens that its record counts.

    A model that nobody knows the tokens of has at most one a byte.
    """
    if embedding.provider == "local" and embedding.model in LOCAL_MODELS:
        return sum(min(len(text.encode()) + SPECIAL_TOKENS, LOCAL_MAX_TOKENS) for text, _ in texts)
    if embedding.provider == "openai" and embedding.model in OPENAI_MODELS:
        return sum(tokens + SPECIAL_TOKENS for _, tokens in texts)
    return sum(len(text.encode()) + SPECIAL_TOKENS for text, _ in texts)


def _dollars(spent: Sum) -> str:
    return f"{usd(spent.pico_usd):.6f}".rstrip("0").rstrip(".")
