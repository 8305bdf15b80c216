"""`headrace demo`."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from headrace.cli.root import CONFLICT, App, Failure, pass_app
from headrace.cli.stack import run_foreground
from headrace.supervisor import Stack, run_dir, running_stack


@click.command()
@click.option("--exit", "leave", is_flag=True, help="End after the answers; exit code 1 if anything went wrong.")
@click.option("--no-pause", is_flag=True, help="Don't pause on the way.")
@pass_app
def demo(app: App, leave: bool, no_pause: bool) -> None:
    """Start everything, ingest a sample site, ask it questions.

    On the way the job is paused and resumed once. The sample is Python's language reference, which comes with every
    Python, served on this machine. Everything stays up until Ctrl-C.
    """
    from headrace.demo import KB, Demo, DemoFailed

    def play(stack: Stack | None) -> None:
        show = Demo(app.client, app.err, app.out, pausing=not no_pause)
        with _alone(app.settings.data_dir), show.site():
            try:
                show.run()
            except DemoFailed as exc:
                raise Failure(str(exc)) from exc
            if not leave:
                show.stay()
        if stack is not None and stack.restarts:
            app.err.print(f"[yellow]{stack.restarts} processes had to be started again on the way")

    if running_stack(app.settings.data_dir) is not None:
        app.err.print("Headrace is up already: the demo uses it, and leaves it up.")
        try:
            play(None)
        except KeyboardInterrupt:  # the way out
            app.err.print("\nThe demo and its site are over; the rest stays up until: headrace down")
            app.err.print(f"To refresh {KB}, run the demo again: it serves the site at the same place.")
    else:
        run_foreground(app, play)


@contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    """A second demo on the same stack would cancel the job of the first, and move its pages to another site."""
    with ExitStack() as held:
        from headrace.embedded.locks import exclusive

        try:
            held.enter_context(exclusive(run_dir(data_dir) / "demo.lock", wait=False))
        except BlockingIOError:
            raise Failure(
                "A demo is running on this stack already: see `headrace status`, or end it by Ctrl-C in its terminal. "
                "Another one beside it needs a stack of its own: HEADRACE_DATA_DIR and ports (`headrace settings`).",
                CONFLICT,
            ) from None
        yield
