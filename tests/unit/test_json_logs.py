"""Logs: for machines one object a line, with whose job or record it is about; for people no line that is forged."""

import json
import logging
import sys
from typing import Any

import pytest

from headrace.service import JsonLines, Lines
from headrace.settings import InvalidSetting, Settings

JOB = "019ab1c2-0000-7000-8000-00000000000a"


def line(msg: str, *args: object, **fields: Any) -> dict[str, Any]:
    record = logging.makeLogRecord(
        {"name": "consumer.stalls", "levelname": "WARNING", "msg": msg, "args": args, **fields}
    )
    text = JsonLines().format(record)
    assert "\n" not in text
    return dict(json.loads(text))


def test_names_the_job() -> None:
    found = line("job %s waits: %s", JOB, "two\nlines", created=0.0)
    assert found["job_id"] == JOB
    assert (found["time"], found["level"], found["logger"]) == (
        "1970-01-01T00:00:00.000Z",
        "WARNING",
        "consumer.stalls",
    )
    assert found["message"] == f"job {JOB} waits: two\nlines"


def test_names_the_record() -> None:
    found = line("chunks %d/%d goes to the dead letters: %s", 3, 17, f"job {JOB}")
    assert (found["topic"], found["partition"], found["offset"]) == ("chunks", 3, 17)
    assert "job_id" not in found


def test_has_the_traceback() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        assert "ValueError: broken" in line("failed", exc_info=sys.exc_info())["exception"]


def test_says_what_is_no_unicode_all_the_same() -> None:
    assert line("reading %s failed", "\ud800x")["message"] == "reading ?x failed"


def test_nothing_that_is_told_begins_a_line_of_its_own() -> None:
    try:
        raise ValueError("broken\n2026-11-27 INFO forged")
    except ValueError:
        record = logging.makeLogRecord(
            {"name": "control", "levelname": "ERROR", "msg": "%s failed", "args": ("x\r\n2026\x1b[2J\u2028a\tb",),
             "exc_info": sys.exc_info()}
        )  # fmt: skip
    first, *rest = Lines().format(record).split("\n")
    assert first.endswith(" ERROR   control: x\\r")
    assert rest[0] == "    2026\\x1b[2J\\u2028a\tb failed" and rest[-1] == "    2026-11-27 INFO forged"
    assert all(line.startswith("    ") for line in rest)


def test_another_form_is_refused() -> None:
    assert Settings.from_env({"HEADRACE_LOG_FORMAT": "json"}).log_format == "JSON"
    with pytest.raises(InvalidSetting, match="HEADRACE_LOG_FORMAT"):
        Settings.from_env({"HEADRACE_LOG_FORMAT": "xml"})
