"""Stopping the stack of one machine pauses what runs, and it stays paused until it is resumed."""

import json
import subprocess
import sys

from headrace.embedded.ports import free_ports
from tests.e2e.test_command_line import Headrace, headrace  # noqa: F401  the fixture: a stack of its own


def test_a_stop_of_the_stack_pauses_a_running_job(headrace: Headrace) -> None:  # noqa: F811
    (port,) = free_ports(1)
    site = [sys.executable, "-m", "tests.fakes.site", "--port", str(port), "--pages", "300", "--latency-ms", "1000"]
    with subprocess.Popen(site, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            headrace("ingest", url, "--kb", "slow", "--allow-addresses", "127.0.0.0/8", "--no-wait")
            headrace("down")
            headrace("up", "--detach")
            status = json.loads(headrace("status", "slow", "--json").stdout)
            assert status["status"] == "paused" and status["reason"] == "shutdown"
            headrace("cancel", "slow", "--wait")
        finally:
            process.terminate()
