"""What embedding costs: one dated table, and the operator's own prices over it (HEADRACE_PRICES).

Money is counted in whole trillionths of a dollar (`pico_usd`), so that sums are exact: a price of a millionth of a
dollar per million tokens is one of them per token.
"""

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Final

from schemas.kb import MODEL, Embedding

AS_OF: Final = "2026-05-01"
"""So OpenAI's prices stood then. Its model pages (developers.openai.com/api/docs/models) give them as "Pricing,
Embeddings, Per 1M tokens"; the batch price beside it is not used here. Azure's pay-as-you-go prices were the same; a
deployment that is not named like its model has none in this table."""
USD_PER_MTOK: Final = MappingProxyType(
    {
        "text-embedding-3-small": Decimal("0.02"),
        "text-embedding-3-large": Decimal("0.13"),
        "text-embedding-ada-002": Decimal("0.10"),
    }
)
PICO_USD: Final = 10**12
"""In a dollar."""
MAX_USD_PER_MTOK: Final = 10_000

Overrides = tuple[tuple[str, Decimal], ...]
"""Model, or endpoint/model, to dollars per million tokens."""


class Prices:
    """None stands for a price that nobody knows; a model on this machine costs nothing.

    `endpoint/model` stands over `model`, for a server that a knowledge base's profile names.
    """

    def __init__(self, overrides: Overrides = ()) -> None:
        self._pico_usd_per_token = {
            model: int(price * PICO_USD / 1_000_000) for model, price in {**USD_PER_MTOK, **dict(overrides)}.items()
        }

    def pico_usd(self, embedding: Embedding, tokens: int) -> int | None:
        """Of so many input tokens under a resolved profile."""
        if embedding.provider == "local":
            return 0
        model = embedding.model or ""
        price = self._pico_usd_per_token.get(f"{embedding.endpoint}/{model}", self._pico_usd_per_token.get(model))
        return None if price is None else tokens * price


def usd(pico_usd: int | None) -> float | None:
    """The nearest float."""
    return None if pico_usd is None else pico_usd / PICO_USD


def pico_usd_of(dollars: float) -> int:
    """Of dollars as they were written: 0.1 is a tenth, not the float beside it."""
    return int(Decimal(repr(dollars)) * PICO_USD)


def total(amounts: Iterable[int | None]) -> int | None:
    """None where one of them is not known."""
    known = list(amounts)
    return None if None in known else sum(amount for amount in known if amount is not None)


def parse_prices(text: str) -> Overrides:
    """`model=dollars per million tokens`, parted by commas. Raises ValueError."""
    found: dict[str, Decimal] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        model, _, price = (each.strip() for each in part.rpartition("="))
        if not MODEL.match(model):
            raise ValueError(f"{part[:80]!r}: write model=dollars per million tokens, such as my-model=0.02")
        found[model] = _price(model, price)
    return tuple(found.items())


def _price(model: str, text: str) -> Decimal:
    try:
        price = Decimal(text)
    except InvalidOperation as exc:
        raise ValueError(f"{model}: {text[:40]!r} is no number of dollars per million tokens") from exc
    if not price.is_finite() or not 0 <= price <= MAX_USD_PER_MTOK or price != round(price, 6):
        raise ValueError(f"{model}: {text[:40]} must lie between 0 and {MAX_USD_PER_MTOK:,}, with 6 decimals at most")
    return price
