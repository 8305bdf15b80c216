"""Why a URL was or was not crawled, in words: from its record, else from what the rules, the site and the log say."""

from typing import Any, Final
from urllib.parse import quote

from headrace.cli.beside import ask
from headrace.cli.root import App
from headrace.cli.view import moment
from headrace.client import ACTIVE, API, ControlProblem, Json
from headrace.counted import counted

MAX_TRAIL: Final = 100
"""Pages on the way back to a start URL; one with more is shown without its beginning."""

_STATES: Final = {
    "fetched": "It was crawled: {texts}.",
    "unchanged": "It was asked for and has not changed since the published generation, of which it keeps {texts}.",
    "redirected": "It was asked for and leads elsewhere: {reason}.",
    "kept": "What is published of it stays, {texts}: {reason}.",
    "gone": "It is gone: {reason}.",
    "skipped": "It was found and left out: {reason}.",
    "failed": "It could not be read: {reason}.",
    "out_of_scope": "It is out of scope: {reason}.",
}


def why(app: App, kb: str, url: str, job_id: str | None) -> Json:
    """`verdict` is the page's state where it has a record; `words` are sentences. `page`: its record. `trail`: from it
    back to where it began, each named by the one behind it. `told`: an Explanation, where there is no record."""
    status, definition = _job(app, kb, job_id)
    question = {"url": url, "definition": definition}
    told = ask("producer.explain", question)
    if told["url"] is None:
        return _answer(status, told["url"], told["verdict"], [f"It can't be crawled: {told['reason']}."])
    if status is not None and (page := _page(app, status, told["url"])) is not None:
        return _of_record(app, status, page)
    words = _otherwise_known(app, status, told["url"])
    if told["verdict"] != "out_of_scope":
        log = status and {"kb_id": kb, "generation": status["generation"], "job_id": status["job_id"]}
        told = ask("producer.explain", {**question, "ask_site": True, "log": log})
    verdict, sentences = _without_record(kb, status, definition["source"], told)
    return _answer(status, told["url"], verdict, [*sentences, *words], told=told)


def print_why(app: App, answer: Json) -> None:
    lines = [answer["url"], *answer["words"]]
    if answer["trail"]:
        lines += ["Found by way of:", *(f"  {url}" for url in answer["trail"])]
    linked = (answer["told"] or {}).get("linked") or {"by": [], "marked": []}
    for heading, pages in (("Linked from:", linked["by"]), ("Linked from, marked nofollow:", linked["marked"])):
        lines += [heading] if pages else []
        lines += [f"  {each['url']}  {each['state']}, depth {each['depth']}" for each in pages]
    for line in filter(None, lines):
        app.out.print(line, soft_wrap=True, markup=False)


def _answer(status: Json | None, url: str | None, verdict: str, words: list[str], **more: Any) -> Json:
    of = {name: status and status[name] for name in ("job_id", "generation")}
    nothing: Json = {"page": None, "trail": [], "told": None}
    return {"url": url, **of, "verdict": verdict, "words": words, **nothing, **more}


def _job(app: App, kb: str, job_id: str | None) -> tuple[Json | None, Json]:
    """Status of the job, None where there was none, and the definition that it goes by."""
    try:
        found = job_id or app.client.status(kb)["job_id"]
    except ControlProblem as problem:
        if problem.code != "no-job":
            raise
        return None, app.client.kb(kb)["definition"]
    job = app.client.call("GET", f"{API}/kb/{quote(kb)}/jobs/{quote(str(found))}")
    return job["status"], job["definition"]


def _page(app: App, status: Json, url: str) -> Json | None:
    rows = app.client.call("GET", f"{API}/jobs/{quote(status['job_id'])}/pages?url={quote(url, safe='')}")["pages"]
    return dict(rows[0]) if rows else None


def _otherwise_known(app: App, status: Json | None, url: str) -> list[str]:
    """A page that people take for the same: of the other scheme, with or without a slash at its end."""
    scheme, _, rest = url.partition("://")
    schemes = {"http": "https", "https": "http"}
    variants = (f"{schemes[scheme]}://{rest}", url.removesuffix("/") if url.endswith("/") else f"{url}/")
    known = [page for each in variants if status is not None and (page := _page(app, status, each)) is not None]
    return [f"There is a page by another spelling, though, {page['state']}: {page['url']}" for page in known]


def _of_record(app: App, status: Json, page: Json) -> Json:
    words = [
        f"Generation {status['generation']}: "
        + _STATES[page["state"]].format(**page, texts=counted(page["chunks"], "chunk"))
    ]
    if page["status"] is not None:
        tries = "" if page["attempt"] == 1 else f", at try {page['attempt']}"
        words.append(
            f"It was asked for at {moment(page['fetched_at'])}: status {page['status']}{tries}, "
            f"{page['bytes']:,} bytes in {page['duration_ms']:,} ms."
        )
    elif page["attempt"]:
        tries = "" if page["attempt"] == 1 else f", and was tried {page['attempt']} times"
        words.append(f"Its turn came at {moment(page['fetched_at'])}{tries}.")
    else:
        words.append(f"This job did not ask for it; that was told at {moment(page['fetched_at'])}.")
    trail = _trail(app, status, page)
    if not trail:
        words.append("It is a start URL.")
    return _answer(status, page["url"], page["state"], words, page=page, trail=trail)


def _trail(app: App, status: Json, page: Json) -> list[str]:
    """A sitemap has no record: there the way ends."""
    trail: list[str] = []
    at: Json | None = page
    while at is not None and at["discovered_from"] not in (None, page["url"], *trail) and len(trail) < MAX_TRAIL:
        trail.append(str(at["discovered_from"]))
        at = _page(app, status, trail[-1])
    return trail


def _without_record(kb: str, status: Json | None, source: Json, told: Json) -> tuple[str, list[str]]:
    if told["verdict"] == "out_of_scope":
        return "out_of_scope", [f"It is out of scope: {told['reason']}."]
    rules = [f"It is in scope: {told['reason']}."] if told["verdict"] == "inside" else []
    robots = told["robots"]
    if robots is not None:
        rules.append(f"robots.txt, as it is now: {robots['reason']}.")
    if told["verdict"] == "trap":
        return "trap", [f"It looks like a trap, and links to it are not followed: {told['reason']}.", *rules]
    if robots is not None and not robots["allowed"]:
        return "robots", [*rules, "So it would be left out, had the crawl come to it; it has not."]
    if status is None:
        words = f"{kb} has had no job yet. Begin one with: headrace ingest --kb {kb}"
        return "no_job", [words, *rules]
    verdict, words = _not_come_to(status, source, told)
    return verdict, [words, *rules]


def _not_come_to(status: Json, source: Json, told: Json) -> tuple[str, str]:
    """Nothing forbids it: the first of the reasons that fit."""
    crawl, linked = status.get("crawl") or {}, told["linked"]
    over = crawl.get("state") in ("finished", "failed")
    place = linked["place"] if linked else None
    if status["status"] in ACTIVE and not over:
        waiting = f"{counted(crawl.get('pages_queued') or 0, 'page is', 'pages are')} known to wait"
        return "waiting", f"The crawl has not come to it yet; the job is {status['status']}, {waiting}."
    if place == "too_deep":
        return "max_depth", f"It lies deeper than max_depth, {source['max_depth']}."
    if place == "left_out":
        return "repeated", "Only pages that repeat others, each found on the one before, link to it: a trap mostly."
    full = _full(source, crawl, linked)
    if place == "next" or told["sitemap"] or (full and linked is None):
        found = f"The sitemap {told['sitemap']} names it. " if told["sitemap"] else ""
        return _known_of(status, source, found, full=full, over=over)
    if linked and linked["marked"]:
        return "nofollow", f"It is only linked where links are marked nofollow, and {_no_sitemap(source, told)}."
    return "not_found", _not_found(source, told, full=full)


def _full(source: Json, crawl: Json, linked: Json | None) -> bool:
    """Whether the crawl came to its limit of pages; without the log's word, by the status, which counts a few more."""
    counted = sum(int(crawl.get(f"pages_{name}") or 0) for name in ("crawled", "failed", "skipped"))
    return bool((linked["against_limit"] if linked else counted) >= source["max_pages"])


def _known_of(status: Json, source: Json, found: str, *, full: bool, over: bool) -> tuple[str, str]:
    if full:
        return (
            "max_pages",
            f"{found}The crawl ended at its limit of {counted(source['max_pages'], 'page')} (max_pages) before it.",
        )
    if not over:
        return "cut_short", f"{found}The job was {status['status']} before the crawl came to it."
    return "not_known_then", f"{found}The crawl did not know of it when it ended. The next one will."


def _no_sitemap(source: Json, told: Json) -> str:
    if not source.get("sitemaps", True):
        return "sitemaps are not read"
    return f"no sitemap{', of those that can be read now,' if told['sitemaps_unread'] else ''} names it"


def _not_found(source: Json, told: Json, *, full: bool) -> str:
    linked, no_sitemap = told["linked"], _no_sitemap(source, told)
    if linked is None:
        unread = "their links can't be read from here, and those marked nofollow don't count"
        return f"Probably no page that was crawled links to it ({unread}), and {no_sitemap}."
    some = " (of some pages not all links are known)" if linked["cut"] else ""
    limit = (
        f" The crawl ended at its limit of {counted(source['max_pages'], 'page')} (max_pages): others may."
        if full
        else ""
    )
    return f"No page that was crawled links to it{some}, and {no_sitemap}.{limit}"
