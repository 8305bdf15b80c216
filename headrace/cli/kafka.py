"""`headrace kafka`: the broker's own tools."""

import textwrap

import click

from headrace.cli.root import USAGE, App, Failure

_PASS_THROUGH = {"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}


@click.command(context_settings=_PASS_THROUGH, add_help_option=False)
@click.argument("tool", required=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def kafka(ctx: click.Context, tool: str | None, arguments: tuple[str, ...]) -> None:
    """Run one of Kafka's own tools against Headrace's broker.

    The prefix `kafka-` may be left out, and `--bootstrap-server` is added where it is missing. Everything else is the
    tool's own: options, output, exit code.

    \b
    Examples:
      headrace kafka topics --list
      headrace kafka consumer-groups --describe --group headrace.consumer
      headrace kafka console-consumer --topic headrace.events --from-beginning --property print.headers=true
      headrace kafka get-offsets --topic headrace.chunks
      headrace kafka consumer-groups --help
    """
    if tool is None or tool in ("--help", "-h"):
        click.echo(ctx.get_help())
        tools = f"Tools: {', '.join(_tools())}"
        click.echo("\n" + textwrap.fill(tools, 78, subsequent_indent="  ", break_on_hyphens=False))
        return
    _run(ctx.ensure_object(App), tool, arguments)


def _run(app: App, tool: str, arguments: tuple[str, ...]) -> None:
    from headrace.embedded import EmbeddedError, KafkaInstallation, default_reporter, exec_tool

    try:
        installation = KafkaInstallation.prepare(app.settings.cache_dir, default_reporter())
        exec_tool(installation, tool, arguments, app.settings.bootstrap_servers)
    except EmbeddedError as exc:
        raise Failure(str(exc), USAGE) from exc


def _tools() -> list[str]:
    from headrace.embedded import TOOL_CLASSES

    return sorted(name.removeprefix("kafka-") for name in TOOL_CLASSES)
