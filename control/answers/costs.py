"""What embedding cost: of a job, of a knowledge base, of all."""

from control.answers.base import Answer
from schemas.kb import Budget


class Spending(Answer, frozen=True, kw_only=True):
    """What embedding cost. `calls`: requests that the provider answered; `tokens_embedded`: as it counted them.

    `usd` is null where the price of a call was not known; a local model costs nothing. unsettled_…: at most so much
    beside that, of calls that are under way or of which no end was told, as where a consumer was killed.
    """

    texts_embedded: int
    tokens_embedded: int
    calls: int
    usd: float | None
    unsettled_tokens: int
    unsettled_usd: float | None


class DayCost(Spending, frozen=True, kw_only=True):
    """Of one day in UTC."""

    day: str


class JobCost(Spending, frozen=True, kw_only=True):
    """`generation` is null where the job's command isn't known."""

    job_id: str
    generation: int | None


class KbCost(Spending, frozen=True, kw_only=True):
    """Of all jobs of a knowledge base and the questions of searches. `days`: the last 31 on which anything was
    embedded, the newest first. `searches`: what the questions cost, a few seconds late."""

    days: list[DayCost]
    searches: Spending


class Cost(Spending, frozen=True, kw_only=True):
    """Of one job. `budget`: what it may spend; null is no limit. `kb`: null where it is not the newest job."""

    budget: Budget
    kb: KbCost | None


class CostAnswer(Spending, frozen=True, kw_only=True):
    """Of all jobs of a knowledge base and the questions of searches; the newest days and jobs first."""

    kb_id: str
    days: list[DayCost]
    jobs: list[JobCost]
    searches: Spending


class KbSpending(Spending, frozen=True, kw_only=True):
    """Of one knowledge base: all jobs, and the questions of searches."""

    kb_id: str


class WholeCost(Spending, frozen=True, kw_only=True):
    """Of all knowledge bases, deleted ones too. `days`: the newest first."""

    days: list[DayCost]
    kbs: list[KbSpending]
