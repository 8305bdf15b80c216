"""What a setting can't be is refused as a service starts, in words that say what to write."""

import pytest

from headrace.settings import InvalidSetting, Settings


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("HEADRACE_EMBED_BATCH", "0", "a whole number from 1 "),
        ("HEADRACE_EMBED_WINDOW", "-1", "a whole number from 1 "),
        ("HEADRACE_CONTENT_PROCESSES", "two", "a whole number from 1 "),
        ("HEADRACE_PARTITIONS", "1.5", "a whole number from 1 "),
        ("HEADRACE_HTTP_PORT", "65536", "a whole number from 1 to 65,535"),
        ("HEADRACE_CONSUMER_HEALTH_PORT", "0", "a whole number from 1 to 65,535"),
        ("HEADRACE_HTTP_RATE", "-1", "a whole number from 0 "),
        ("HEADRACE_HTTP_PROXIES", "10.0.0.1/8", "has host bits set; write addresses or ranges such as"),
        ("HEADRACE_HTTP_PROXIES", "proxy", "write addresses or ranges such as"),
        ("HEADRACE_SESSION_S", "nan", "seconds above 0"),
        ("HEADRACE_SESSION_S", "0", "seconds above 0"),
        ("HEADRACE_SESSION_S", "1e9", "seconds above 0"),
        ("HEADRACE_LOG_LEVEL", "loud", "write DEBUG, INFO, WARNING, ERROR"),
    ],
)
def test_what_no_service_could_work_with_is_refused(variable: str, value: str, says: str) -> None:
    with pytest.raises(InvalidSetting, match=f"{variable} does not fit: .*{says}"):
        Settings.from_env({variable: value})


def test_what_fits_is_taken() -> None:
    given = {
        "HEADRACE_EMBED_BATCH": "16",
        "HEADRACE_SESSION_S": ".5",
        "HEADRACE_LOG_LEVEL": "debug ",
        "KAFKA_BOOTSTRAP_SERVERS": "",
    }
    settings = Settings.from_env(given)
    assert (settings.embed_batch, settings.session_s, settings.log_level) == (16, 0.5, "DEBUG")
    assert settings.kafka_bootstrap_servers is None


@pytest.mark.parametrize(("replicas", "insync"), [(1, 1), (2, 1), (3, 2), (4, 3), (5, 3)])
def test_more_than_half_of_the_replicas_have_a_record_before_it_counts(replicas: int, insync: int) -> None:
    given = {"KAFKA_BOOTSTRAP_SERVERS": "kafka:9092", "HEADRACE_REPLICATION": str(replicas)}
    assert Settings.from_env(given).min_insync == insync
    assert Settings.from_env(given | {"HEADRACE_MIN_INSYNC_REPLICAS": "1"}).min_insync == 1


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"HEADRACE_REPLICATION": "3"}, "the embedded Kafka is one broker"),
        ({"HEADRACE_MIN_INSYNC_REPLICAS": "2"}, "HEADRACE_REPLICATION=1: nothing could be written"),
    ],
)
def test_replicas_that_can_not_be_are_refused(given: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidSetting, match=says):
        Settings.from_env(given)
