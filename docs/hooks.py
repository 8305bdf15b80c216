"""Pages of the site that are made as it is built, so that they can't be out of date: begin, reference, decisions."""

import io
import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from control.openapi import document
from headrace.cli import cli
from headrace.cli.about import setting_rows
from headrace.settings import Settings
from schemas import asyncapi

DOCS = Path(__file__).parent
WIDTH = 100
PICTURE = re.compile(r"^<picture>.*</picture>$", re.MULTILINE)
SOURCE = re.compile(r'\b(src|srcset)="([^"]*)"')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """MkDocs asks for more pages here."""
    pages = {
        "index.md": index(),
        "reference/cli.md": command_line(),
        "reference/http.md": http(),
        "reference/settings.md": settings(),
        "reference/records.md": records(),
        "decisions/index.md": decisions(),
    }
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, **_: Any) -> str:
    """Links out of docs/ lead to files that are no part of the site. MkDocs leaves the addresses in HTML as they are,
    although a page's own is a directory deeper than its file."""
    text = re.sub(r"\[([^\]]+)\]\(\.\./[^)]*\)", r"\1", markdown)
    return PICTURE.sub(lambda found: SOURCE.sub(lambda one: _source(one, page, files), found[0]), text)


def _source(found: re.Match[str], page: Page, files: Files) -> str:
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page.file.src_uri), found[2]))
    file = files.get_file_from_path(path)
    if file is None:
        raise PluginError(f"{page.file.src_uri} shows {found[2]}, which is not there")
    return f'{found[1]}="{file.url_relative_to(page.file)}"'


def index() -> str:
    """README.md, seen from docs/."""
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    text = SOURCE.sub(lambda found: f'{found[1]}="{found[2].removeprefix("docs/")}"', text)
    return re.sub(r"\]\(docs/([^)]*)\)", lambda found: f"]({_page(found[1])})", text)


def _page(path: str) -> str:
    return path + "index.md" if path.endswith("/") else path


def decisions() -> str:
    """By date, each with its title."""
    found = sorted((DOCS / "decisions").glob("2*.md"))
    rows = (f"* [{each.read_text(encoding='utf-8').splitlines()[0].lstrip('# ')}]({each.name})" for each in found)
    return "\n".join(
        ("# Decisions", "", "Each with its date, what else was at hand, and what follows from it.", "", *rows)
    )


def command_line() -> str:
    """What `--help` says, of every command."""
    parts = [
        "# Command line",
        "",
        "What `headrace … --help` says. Exit codes: [operations](../operations.md#exit-codes).",
    ]
    for words, command in commands(cli, ("headrace",)):
        context = click.Context(command, info_name=" ".join(words), terminal_width=WIDTH, max_content_width=WIDTH)
        parts += ["", f"## {' '.join(words)}", "", "```text", command.get_help(context).rstrip(), "```"]
    return "\n".join(parts) + "\n"


def commands(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """It and all below it."""
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from commands(below, (*words, name))


def settings() -> str:
    """What `headrace settings` says, without what is set here."""
    rows = (
        f"| `{row['variable']}` | {_cell(row['default'])} | {row['meaning'].replace('|', '∣')} |"
        for row in setting_rows(Settings(), {})
    )
    return "\n".join(
        ("# Settings", "", "Environment variables.", "", "| variable | default | is |", "|---|---|---|", *rows)
    )


def _cell(value: Any) -> str:
    text = str(value) if value not in (None, [], {}, "") else ""
    return f"`{text.replace(str(Path.home()), '~')}`" if text else "–"


def records() -> str:
    """Of the AsyncAPI document: each topic, the types on it, their fields."""
    api = asyncapi.document()
    out = io.StringIO()
    out.write("# Topics, field by field\n\nThe AsyncAPI 3.0 document is `schemas/asyncapi.json`; ")
    out.write("how topics are read and written: [topics](../topics.md).\n")
    for channel in api["channels"].values():
        out.write(f"\n## {channel['address']}\n\n{_sentence(channel['description'])}\n\n")
        for key, value in channel["bindings"]["kafka"]["topicConfiguration"].items():
            out.write(f"* `{key}` {', '.join(value) if isinstance(value, list) else value}\n")
        for name in channel["messages"]:
            message = api["components"]["messages"][name]
            out.write(f"\n### {message['name']}\n\n{message['summary']}\n\n")
            if reference := message["payload"].get("$ref"):
                _write_fields(out, api["components"]["schemas"][reference.rpartition("/")[2]])
    out.write("\n## Parts\n\nWhat stands within the types above.\n")
    whole = {
        message["payload"].get("$ref", "").rpartition("/")[2] for message in api["components"]["messages"].values()
    }
    for name, schema in sorted(api["components"]["schemas"].items()):
        if name not in whole:
            out.write(f"\n### {name}\n\n{schema.get('description', '')}\n\n")
            _write_fields(out, schema)
    return out.getvalue()


def _write_fields(out: io.StringIO, schema: dict[str, Any]) -> None:
    for field, kind in schema.get("properties", {}).items():
        needed = "" if field in schema.get("required", []) else ", may be left out"
        out.write(f"* `{field}` {_kind(kind)}{needed}\n")


def _kind(schema: dict[str, Any]) -> str:
    """In a word or two; a type of its own as a link."""
    if "$ref" in schema:
        return _name(schema)
    if options := schema.get("anyOf"):
        return " or ".join(_kind(each) for each in options)
    if words := schema.get("enum"):
        return ", ".join(f"`{word}`" for word in words)
    kind = str(schema.get("type", "anything"))
    return f"list of {_kind(schema['items'])}" if kind == "array" and schema.get("items") else kind


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def http() -> str:
    """Of the OpenAPI document: each call, who may make it, what it takes and answers."""
    api = json.loads(document())
    out = io.StringIO()
    out.write("# HTTP\n\nThe whole document, with every field, is at `/openapi.json` of control.\n")
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            out.write(f"\n## {method.upper()} {path}\n\n{operation.get('summary', '')}\n\n")
            if says := operation.get("description"):
                out.write(f"{says}\n\n")
            for parameter in operation.get("parameters", []):
                out.write(f"* `{parameter['name']}` ({parameter['in']}): {parameter.get('description', '')}\n")
            if body := operation.get("requestBody"):
                out.write(f"* takes {_kinds(body['content'])}\n")
            for status, answer in operation["responses"].items():
                kinds = f", {_kinds(answer['content'])}" if answer.get("content") else ""
                out.write(f"* {status}: {answer['description']}{kinds}\n")
    out.write("\n## Types\n\nNames and fields of what calls take and answer.\n")
    for name, schema in sorted(api["components"]["schemas"].items()):
        out.write(f"\n### {name}\n\n{schema.get('description', '')}\n\n")
        for field in schema.get("properties", {}):
            needed = ", required" if field in schema.get("required", []) else ""
            out.write(f"* `{field}`{needed}\n")
    return out.getvalue()


def _kinds(content: dict[str, Any]) -> str:
    return ", ".join(f"{kind} {_name(each['schema'])}".strip() for kind, each in content.items())


def _name(schema: dict[str, Any]) -> str:
    name = schema.get("$ref", "").rsplit("/", 1)[-1]
    return f"[{name}](#{name.lower()})" if name else ""
