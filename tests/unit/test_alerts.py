"""What Prometheus' own tool says of the alert rules and the files that name them."""

import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from control.access import ADDRESS_RATE, REFUSED_COSTS
from tests.support.prometheus import FILES, alerts, program

CASES = Path(__file__).with_name("alerts.yml")


def promtool(*arguments: str) -> None:
    ran = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_each_alert_fires_where_it_should_and_nowhere_else() -> None:
    promtool("test", "rules", str(CASES))


def test_each_alert_has_cases_of_both_kinds() -> None:
    fires: dict[str, set[bool]] = defaultdict(set)
    for test in yaml.safe_load(CASES.read_text(encoding="utf-8"))["tests"]:
        for case in test["alert_rule_test"]:
            fires[case["alertname"]].add(bool(case.get("exp_alerts")))
    assert fires == {rule["alert"]: {True, False} for rule in alerts()}


@pytest.mark.parametrize("name", ["prometheus.yml", "prometheus.production.yml"])
def test_prometheus_takes_the_files_as_they_are(name: str, tmp_path: Path) -> None:
    """But for the token, which is not there."""
    shutil.copytree(FILES, tmp_path, dirs_exist_ok=True)
    promtool("check", "config", "--syntax-only", str(tmp_path / name))
    promtool("check", "rules", str(tmp_path / "alerts.yml"))


def test_one_who_guesses_tokens_from_one_address_is_told() -> None:
    (rule,) = (rule for rule in alerts() if rule["alert"] == "HeadraceTokensRefused")
    threshold_per_s = float(rule["expr"].rpartition("> ")[2])
    assert threshold_per_s < ADDRESS_RATE / REFUSED_COSTS, "all that the limit lets through"
