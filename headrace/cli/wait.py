"""`headrace wait`."""

import time

import click

from headrace.cli.root import FAILED, TIMED_OUT, WAITS, App, Failure, pass_app, print_json
from headrace.cli.view import chunk_counts
from headrace.cli.watch import AWAY_S, POLL_S, patient_status, showing, waits_for_a_person, waits_for_nothing
from headrace.client import Json
from headrace.counted import counted


@click.command()
@click.argument("kb")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    default=float("inf"),
    show_default="none",
    help="Seconds to wait at most.",
)
@click.option("--json", "as_json", is_flag=True, help="The last status as JSON.")
@pass_app
def wait(app: App, kb: str, timeout_s: float, as_json: bool) -> None:
    """Wait until the newest job of KB is over, for scripts. Exit code 0 only where it is completed.

    \b
    1  it failed or was cancelled
    6  --timeout passed first
    7  it waits for a person: for a review, or for a larger budget

    \b
    Examples:
      headrace ingest --kb docs --no-wait && headrace wait docs --timeout 3600
      headrace wait docs || mail -s "docs: exit code $?" me@example.org < /dev/null
    """
    status = _stands(app, kb, time.monotonic() + timeout_s)
    done, total = chunk_counts(status)
    if as_json:
        print_json(status)
    else:
        app.out.print(f"{kb} is {status.get('status')} ({done:,} of {counted(total, 'chunk')})")
    if waits_for_a_person(status):
        raise Failure(f"{kb} waits for a person: {status.get('reason') or 'see headrace status ' + kb}", WAITS)
    if not waits_for_nothing(status):
        raise Failure(f"{kb} is {status.get('status')} still after {timeout_s:g} s; the job goes on", TIMED_OUT)
    if status.get("status") not in ("completed", "completed_with_errors"):
        raise Failure(f"{kb} is {status.get('status')}: {status.get('reason') or 'see headrace jobs ' + kb}", FAILED)


def _stands(app: App, kb: str, give_up_at: float) -> Json:
    """How the job stands that was the newest at first, also where another has begun since."""
    job: str | None = None
    with showing(app.err) as show:
        while True:
            left_s = give_up_at - time.monotonic()
            status = patient_status(app.client, kb, max(0.0, min(AWAY_S, left_s)))
            job = job or status["job_id"]
            if status["job_id"] != job:
                return app.client.job_status(job)
            show(status)
            if waits_for_nothing(status) or time.monotonic() >= give_up_at:
                return status
            time.sleep(max(0.0, min(POLL_S, give_up_at - time.monotonic())))
