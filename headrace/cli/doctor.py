"""`headrace doctor`."""

from dataclasses import asdict

import click
from rich.markup import escape

from headrace.cli.root import FAILED, App, pass_app, print_json

_MARKS = {"ok": "[green]✓[/]", "warn": "[yellow]![/]", "fail": "[red]✗[/]"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, a list.")
@pass_app
def doctor(app: App, as_json: bool) -> None:
    """Say what is missing or wrong here, and how to mend it.

    Exit code 1 if something fails; what is merely not there yet, or worth knowing, is a warning.
    """
    from headrace.cli.checks import findings

    found = []
    for finding in findings(app.settings, app.client):
        found.append(finding)
        if not as_json:
            app.out.print(f"{_MARKS[finding.level]} {finding.name:<15}{escape(finding.says)}", soft_wrap=True)
            if finding.mend:
                app.out.print(f"  {'':<15}[yellow]→ {escape(finding.mend)}", soft_wrap=True)
    if as_json:
        print_json([asdict(finding) for finding in found])
    if any(finding.level == "fail" for finding in found):
        click.get_current_context().exit(FAILED)
