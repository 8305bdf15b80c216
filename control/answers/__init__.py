"""What HTTP answers with; the OpenAPI document is made from these types."""

from control.answers.access import LoggedOut, WhoAmI
from control.answers.base import Answer
from control.answers.costs import Cost, CostAnswer, DayCost, JobCost, KbCost, KbSpending, Spending, WholeCost
from control.answers.generations import (
    ChangedPage,
    ChangesAnswer,
    ChangeTotals,
    GenerationAnswer,
    GenerationList,
    VacuumAnswer,
    VacuumState,
)
from control.answers.health import Health, Ready
from control.answers.hosts import HostAnswer, HostList, RequestAnswer, RequestList
from control.answers.jobs import EventAnswer, EventList, History, JobAnswer, JobList, Moment
from control.answers.kbs import Accepted, Deleted, KbAnswer, KbList
from control.answers.letters import (
    DeadLetterAnswer,
    DeadLetterList,
    DeadLetterRecord,
    NotRetriedAnswer,
    PlaceAnswer,
    RetryAnswer,
)
from control.answers.pages import PageAnswer, PageList, PageSummary, ReasonCount, StateCount
from control.answers.partitions import OffsetsAnswer, PartitionAnswer, PartitionList
from control.answers.search import Duplicate, Hit, Neighbour, Part, SearchAnswer
from control.answers.status import CrawlAnswer, LostAnswer, Metrics, Reflected, ReviewAnswer, StallAnswer, StatusAnswer
from control.answers.webhooks import WebhookAnswer, WebhookList, WebhookTest

__all__ = [
    "Accepted",
    "Answer",
    "ChangeTotals",
    "ChangedPage",
    "ChangesAnswer",
    "Cost",
    "CostAnswer",
    "CrawlAnswer",
    "DayCost",
    "DeadLetterAnswer",
    "DeadLetterList",
    "DeadLetterRecord",
    "Deleted",
    "Duplicate",
    "EventAnswer",
    "EventList",
    "GenerationAnswer",
    "GenerationList",
    "Health",
    "History",
    "Hit",
    "HostAnswer",
    "HostList",
    "JobAnswer",
    "JobCost",
    "JobList",
    "KbAnswer",
    "KbCost",
    "KbList",
    "KbSpending",
    "LoggedOut",
    "LostAnswer",
    "Metrics",
    "Moment",
    "Neighbour",
    "NotRetriedAnswer",
    "OffsetsAnswer",
    "PageAnswer",
    "PageList",
    "PageSummary",
    "Part",
    "PartitionAnswer",
    "PartitionList",
    "PlaceAnswer",
    "Ready",
    "ReasonCount",
    "Reflected",
    "RequestAnswer",
    "RequestList",
    "RetryAnswer",
    "ReviewAnswer",
    "SearchAnswer",
    "Spending",
    "StallAnswer",
    "StateCount",
    "StatusAnswer",
    "VacuumAnswer",
    "VacuumState",
    "WebhookAnswer",
    "WebhookList",
    "WebhookTest",
    "WhoAmI",
    "WholeCost",
]
