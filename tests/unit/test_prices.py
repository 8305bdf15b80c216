"""Dollars from tokens: exact, dated, overridable."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.prices import USD_PER_MTOK, Prices, parse_prices, pico_usd_of, total, usd
from headrace.settings import InvalidSetting, Settings
from schemas.kb import OPENAI_MODELS, Embedding


def openai(model: str) -> Embedding:
    return Embedding(provider="openai", model=model, dimensions=8)


@given(st.sampled_from(sorted(USD_PER_MTOK)), st.integers(0, 10**12))
def test_dollars_are_exact(model: str, tokens: int) -> None:
    assert Prices().pico_usd(openai(model), tokens) == USD_PER_MTOK[model] * tokens / 1_000_000 * 10**12


@given(st.lists(st.integers(0, 10**9), max_size=20))
def test_the_price_of_a_sum_is_the_sum_of_the_prices(tokens: list[int]) -> None:
    prices, embedding = Prices(), openai("text-embedding-3-large")
    assert prices.pico_usd(embedding, sum(tokens)) == total(prices.pico_usd(embedding, each) for each in tokens)


def test_every_model_of_openai_has_a_price() -> None:
    assert USD_PER_MTOK.keys() == OPENAI_MODELS.keys()


def test_a_local_model_costs_nothing_and_an_unknown_one_nobody_knows_what() -> None:
    assert Prices().pico_usd(Embedding(provider="local", model="any", dimensions=8), 10**6) == 0
    assert Prices().pico_usd(openai("bge-m3"), 1) is None
    assert total([1, None]) is None and usd(None) is None


def test_the_operators_prices_stand_over_the_table() -> None:
    settings = Settings.from_env({"HEADRACE_PRICES": " bge-m3 = 0.01, text-embedding-3-small=0,BAAI/bge:v1.5=1e-6"})
    prices = Prices(settings.prices)
    assert prices.pico_usd(openai("bge-m3"), 1_000_000) == 10**10
    assert prices.pico_usd(openai("text-embedding-3-small"), 7) == 0
    assert prices.pico_usd(openai("BAAI/bge:v1.5"), 7) == 7
    assert prices.pico_usd(openai("text-embedding-3-large"), 1_000_000) == 13 * 10**10


def test_an_endpoint_may_have_a_price_of_its_own() -> None:
    prices = Prices(parse_prices("vllm/text-embedding-3-small=0,bge-m3=0.01"))
    of_vllm = [Embedding(provider="openai", model=m, dimensions=8, endpoint="vllm") for m in (*USD_PER_MTOK, "bge-m3")]
    assert [prices.pico_usd(each, 1) for each in of_vllm] == [0, 130_000, 100_000, 10_000]
    assert prices.pico_usd(openai("text-embedding-3-small"), 1) == 20_000


@pytest.mark.parametrize("text", ["0.02", "m=", "m=x", "m=-1", "m=nan", "m=inf", "m=0.0000001", "=1", "a b=1", "m=1e9"])
def test_a_price_that_is_none_is_named(text: str) -> None:
    with pytest.raises(InvalidSetting, match="HEADRACE_PRICES"):
        Settings.from_env({"HEADRACE_PRICES": text})


@pytest.mark.parametrize(("dollars", "pico"), [(0.1, 10**11), (1, 10**12), (0, 0), (1e-6, 10**6), (0.3, 3 * 10**11)])
def test_dollars_are_taken_as_they_were_written(dollars: Any, pico: int) -> None:
    assert pico_usd_of(dollars) == pico
    assert usd(pico) == dollars


def test_later_ones_stand_over_earlier_ones() -> None:
    assert dict(parse_prices("m=1,m=2,")) == {"m": Decimal(2)}
