"""What tests of the consumer wait for, and what they look at."""

from headrace.settings import Settings
from headrace.vectors import Tenancy, VectorStore
from schemas.facts import IndexReport, JobFinished
from schemas.kb import collection_name
from tests.support.log import PlayedJob, read_all
from tests.support.waiting import until


async def finished(settings: Settings, job: PlayedJob, within_s: float = 90) -> JobFinished:
    async def found() -> JobFinished | None:
        return next((f for f in await read_all(settings, JobFinished) if f.job_id == job.job_id), None)

    return await until(found, within_s=within_s, what="job_finished")


async def reported(settings: Settings, job: PlayedJob, state: str, revision: int) -> IndexReport:
    async def found() -> IndexReport | None:
        reports = await read_all(settings, IndexReport)
        return next(
            (r for r in reports if r.job_id == job.job_id and r.state == state and r.revision == revision), None
        )

    return await until(found, what=f"{state} under revision {revision}")


async def ids(store: VectorStore, job: PlayedJob) -> set[str]:
    place = Tenancy(collection_name(job.definition.embedding), job.kb_id)
    return {chunk_id async for chunk_id, _, _ in store.ids(place)}


def everything(job: PlayedJob) -> set[str]:
    return {chunk_id for page in job.pages.values() for chunk_id in page}
