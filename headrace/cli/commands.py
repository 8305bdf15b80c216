"""`headrace pause`, `resume`, `cancel`, `approve`, `rollback`."""

from collections.abc import Callable

import click

from headrace.cli.budget import budget_of, budget_options, set_budget
from headrace.cli.reason import reason_option
from headrace.cli.root import CONFLICT, FAILED, App, Failure, pass_app, print_json
from headrace.cli.view import chunk_counts
from headrace.client import ACTIVE, Json
from headrace.counted import counted

WAIT_S = 60.0

_REACHED: dict[str, Callable[[Json], bool]] = {
    "pause": lambda status: status["status"] == "paused" or status["status"] not in ACTIVE,
    "resume": lambda status: status["status"] not in ("paused", "pausing", "resuming"),
    "cancel": lambda status: status["status"] not in ACTIVE,
    "approve": lambda status: status["status"] not in ACTIVE,
    "rollback": lambda status: status["status"] not in ACTIVE,
}

_Options = Callable[[Callable[..., None]], Callable[..., None]]


def _options(what: str) -> _Options:
    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for option in (
            click.option("--json", "as_json", is_flag=True, help="The answer as JSON."),
            click.option("--wait", is_flag=True, help=f"Return only when the job is {what}."),
            reason_option,
            click.argument("kb"),
        ):
            command = option(command)
        return command

    return decorate


@click.command()
@_options("paused: nothing more is fetched, embedded or written")
@pass_app
def pause(app: App, kb: str, reason: str | None, wait: bool, as_json: bool) -> None:
    """Hold the running job of KB, and no other. It stays so, over any restart, until it is resumed."""
    _command(app, "pause", kb, reason, wait, as_json)


@click.command()
@_options("at work again")
@budget_options
@pass_app
def resume(
    app: App, kb: str, reason: str | None, wait: bool, as_json: bool, max_tokens: int | None, max_usd: float | None
) -> None:
    """Let the paused job of KB go on where it was. Settings that were changed meanwhile apply.

    A job that its budget paused needs a larger one, which the definition keeps; with the same it pauses again.

    \b
    Examples:
      headrace resume docs
      headrace resume docs --max-usd 5
    """
    if budget := budget_of(max_tokens, max_usd):
        set_budget(app.client, kb, budget, reason)
    _command(app, "resume", kb, reason, wait, as_json)


@click.command()
@_options("cancelled: every object that it wrote is gone")
@pass_app
def cancel(app: App, kb: str, reason: str | None, wait: bool, as_json: bool) -> None:
    """End the job of KB and undo what it wrote. What was published before stays searchable."""
    _command(app, "cancel", kb, reason, wait, as_json)


@click.command()
@_options("over: its generation is published")
@pass_app
def approve(app: App, kb: str, reason: str | None, wait: bool, as_json: bool) -> None:
    """Publish the refresh of KB that waits for a review. Much would vanish by it.

    \b
    See first what would vanish: headrace changes KB
    Not what you want?           headrace cancel KB
    """
    status = app.client.status(kb)
    review = status.get("review")
    if not review:  # without its digest, whatever comes to wait meanwhile would be approved unseen
        raise Failure(f"{kb} is {status.get('status')} and waits for no review; there is nothing to approve", CONFLICT)
    _command(app, "approve", kb, reason, wait, as_json, digest=review["digest"])


@click.command()
@_options("undone: every object that its generation wrote is gone")
@click.option("--yes", "-y", is_flag=True, help="Don't ask.")
@pass_app
def rollback(app: App, kb: str, reason: str | None, wait: bool, yes: bool, as_json: bool) -> None:
    """Undo the newest published generation of KB. The one before is searched again; there is no way forward but another
    refresh."""
    newest = app.client.kb(kb).get("published_generation")
    if newest is not None and not yes:
        click.confirm(f"Undo generation {newest} of {kb} for good?", abort=True, err=True)
    _command(app, "rollback", kb, reason, wait, as_json, generation=newest)


def _command(
    app: App, action: str, kb: str, reason: str | None, wait: bool, as_json: bool, **body: str | int | None
) -> None:
    client = app.client
    accepted = client.command(kb, action, reason, **body)
    if not wait:
        if as_json:
            print_json(accepted)
        else:
            app.out.print(
                f"{kb}: {action} is commanded (revision {accepted.get('revision')}). See: headrace status {kb}"
            )
        return
    reached = _REACHED[action]
    with app.err.status(f"{kb}: waiting until it takes effect"):
        status = client.wait_for(kb, reached, deadline_s=WAIT_S, job_id=accepted["job_id"])
    if as_json:
        print_json(status)
    else:
        done, total = chunk_counts(status)
        app.out.print(f"{kb} is {status.get('status')} ({done:,} of {counted(total, 'chunk')})")
    if not reached(status):
        raise Failure(f"{kb} is {status.get('status')} still after {WAIT_S:.0f} s; see: headrace status {kb}", FAILED)
