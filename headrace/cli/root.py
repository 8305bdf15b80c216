"""The group of all commands: shared options, errors as text with exit codes, commands imported when they are run."""

import json
import re
import sys
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from importlib import import_module
from typing import Any

import click
from rich.console import Console

from headrace.cli import stdout
from headrace.client import ControlClient, ControlError, ControlProblem, ControlUnreachable, InvalidAddress
from headrace.settings import InvalidSetting, Settings
from headrace.whole_file import UnwritableFile

OK, FAILED, USAGE, UNREACHABLE, CONFLICT, NOT_FOUND, TIMED_OUT, WAITS = range(8)
EXIT_CODES = {
    OK: "done",
    FAILED: "failed",
    USAGE: "wrong usage, definition, query or setting",
    UNREACHABLE: "control can't be reached",
    CONFLICT: "makes no sense now, such as a job that is active already, or a name that another site has",
    NOT_FOUND: "not found",
    TIMED_OUT: "`wait` gave up after --timeout; the job goes on",
    WAITS: "`ingest` and `wait`: the job waits for a person, for a review or a larger budget",
}
"""docs/operations.md has this table, and a test compares them."""

COMMANDS = {
    "up": "headrace.cli.stack:up",
    "down": "headrace.cli.stack:down",
    "demo": "headrace.cli.demo:demo",
    "ingest": "headrace.cli.ingest:ingest",
    "preview": "headrace.cli.preview:preview",
    "estimate": "headrace.cli.estimate:estimate",
    "status": "headrace.cli.status:status",
    "pause": "headrace.cli.commands:pause",
    "resume": "headrace.cli.commands:resume",
    "cancel": "headrace.cli.commands:cancel",
    "approve": "headrace.cli.commands:approve",
    "search": "headrace.cli.search:search",
    "jobs": "headrace.cli.jobs:jobs",
    "pages": "headrace.cli.pages:pages",
    "hosts": "headrace.cli.hosts:hosts",
    "cost": "headrace.cli.cost:cost",
    "wait": "headrace.cli.wait:wait",
    "sql": "headrace.cli.sql:sql",
    "generations": "headrace.cli.generations:generations",
    "changes": "headrace.cli.generations:changes",
    "reembed": "headrace.cli.reembed:reembed",
    "rollback": "headrace.cli.commands:rollback",
    "vacuum": "headrace.cli.generations:vacuum",
    "dead-letters": "headrace.cli.dead_letters:dead_letters",
    "kb": "headrace.cli.kb:kb",
    "kafka": "headrace.cli.kafka:kafka",
    "token": "headrace.cli.token:token",
    "webhook": "headrace.cli.webhook:webhook",
    "doctor": "headrace.cli.doctor:doctor",
    "settings": "headrace.cli.about:settings",
    "version": "headrace.cli.about:version",
}
"""In the order of `--help`: from the first that a newcomer needs to the last."""

PLAIN_WIDTH = 160
"""Of tables where stdout is no terminal: wide enough that nothing is cut."""


class Failure(click.ClickException):
    """An error as the user sees it: text on stderr that says what to do, and an exit code."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code

    def show(self, file: Any = None) -> None:
        click.secho("Error: ", fg="red", bold=True, nl=False, err=True)
        click.echo(self.message, err=True)


@dataclass
class App:
    """What every command gets: settings, the client of control, and two consoles."""

    given_url: str | None = None
    settings_: Settings | None = field(default=None)

    @cached_property
    def settings(self) -> Settings:
        return self.settings_ or Settings.from_env()

    @property
    def url(self) -> str:
        if self.given_url:
            return self.given_url
        host = self.settings.http_host
        host = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.settings.http_port}"

    @property
    def client(self) -> ControlClient:
        return ControlClient(self.url, token=self.settings.token)

    @cached_property
    def out(self) -> Console:
        """stdout: what was asked for."""
        console = Console(highlight=False)
        return console if console.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)

    @cached_property
    def err(self) -> Console:
        """stderr: progress, hints, errors."""
        return Console(stderr=True, highlight=False)


pass_app = click.make_pass_decorator(App)


def print_json(value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2)
    click.echo(text)


class Commands(click.Group):
    """Imports a command's module when the command is named, and turns known errors into a Failure."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name].split(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and (near := get_close_matches(args[0], COMMANDS, n=1)):
            raise click.UsageError(f"No such command {args[0]!r}. Did you mean {near[0]!r}?", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (InvalidAddress, UnwritableFile) as exc:
            raise Failure(str(exc), USAGE) from exc
        except ControlUnreachable as exc:
            raise Failure(str(exc), UNREACHABLE) from exc
        except ControlProblem as exc:
            advice = _of_unknown_kb(ctx.obj, exc) if exc.code == "unknown-kb" else _with_advice(exc)
            raise Failure(advice, _code_of(exc)) from exc
        except InvalidSetting as exc:
            raise Failure(f"{exc}. `headrace settings` lists all settings.", USAGE) from exc


def _code_of(problem: ControlProblem) -> int:
    if problem.status in (409, 412):
        return CONFLICT
    if problem.status == 404:
        return NOT_FOUND
    return USAGE if problem.status in (400, 415, 422) else FAILED


def _of_unknown_kb(app: App, problem: ControlProblem) -> str:
    """What a person can do, rather than which requests a program could send."""
    says = str(problem).partition(";")[0]
    named = re.search(r"'(.+)'", says)
    try:
        near = get_close_matches(named[1] if named else "", [kb["kb_id"] for kb in app.client.kbs()], n=1)
    except ControlError:  # the list may need another role, or control be gone by now: then without it
        near = []
    meant = f" Did you mean {near[0]!r}?" if near else ""
    return f"{says}.{meant} `headrace kb list` shows what there is; `headrace ingest URL --kb NAME` makes one."


def _with_advice(problem: ControlProblem) -> str:
    if problem.status == 412:  # what else it says is for who writes headers
        says = str(problem).rpartition("; ")[0] or str(problem)
        return f"{says}. Somebody was quicker: see `headrace kb list`, and try again."
    advice = {
        "job-active": " See `headrace status`, or stop it with `headrace cancel KB`.",
        "token-missing": " Show it by HEADRACE_TOKEN.",
        "token-refused": " See HEADRACE_TOKEN, and `headrace token list` on control's machine.",
        "no-job": " Begin one with `headrace ingest --kb NAME`.",
    }
    whole = str(problem).endswith((".", "^"))  # a sentence, or a mark below the place that is meant
    return str(problem) if whole else f"{problem}.{advice.get(problem.code, '')}"


HELP = f"""Turn web sites into searchable knowledge bases, through a log that remembers everything.

\b
Begin:
  headrace up                                  start Kafka, Weaviate and the three services
  headrace ingest https://example.org/docs/    crawl a site and make it searchable
  headrace search example-org-docs "how do I install it?"
  headrace status --watch                      see what goes on
  headrace kafka topics --list                 look beneath with Kafka's own tools

\b
Exit codes:
{"".join(f"  {code}  {says}" + chr(10) for code, says in EXIT_CODES.items())}"""


@click.group(cls=Commands, help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--url", envvar="HEADRACE_URL", show_envvar=True, help="Where control is.  [default: http://127.0.0.1:8000]"
)
@click.pass_context
def cli(ctx: click.Context, url: str | None) -> None:
    ctx.ensure_object(App)
    if url:
        ctx.obj.given_url = url


def main() -> None:
    stdout.take_over()
    try:
        try:
            cli(prog_name="headrace")
        finally:
            stdout.flush()
    except stdout.Unwritten as exc:
        stdout.give_up()
        failure = Failure(f"stdout can't be written: {exc.strerror}. Free some space, or send it elsewhere.")
        failure.show()
        raise SystemExit(failure.exit_code) from None
