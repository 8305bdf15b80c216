"""`headrace demo`."""

import click

from headrace.cli.root import App, Failure, pass_app
from headrace.cli.stack import run_foreground
from headrace.supervisor import Stack, running_stack


@click.command()
@click.option("--exit", "leave", is_flag=True, help="End after the answers; exit code 1 if anything went wrong.")
@click.option("--no-pause", is_flag=True, help="Don't pause on the way.")
@pass_app
def demo(app: App, leave: bool, no_pause: bool) -> None:
    """Start everything, ingest a sample site, ask it questions.

    On the way the job is paused and resumed once. The sample is Python's language reference, which comes with every
    Python, served on this machine. Everything stays up until Ctrl-C.
    """
    from headrace.demo import Demo, DemoFailed

    def play(stack: Stack | None) -> None:
        show = Demo(app.client, app.err, app.out, pausing=not no_pause)
        with show.site():
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
    else:
        run_foreground(app, play)
