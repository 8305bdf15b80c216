from prometheus_client import generate_latest

from producer.metrics import Metrics
from producer.work import PageOutput


def test_tells_the_time_of_each_step_of_a_page_in_seconds() -> None:
    metrics = Metrics()
    metrics.read(PageOutput("https://site.example/", extract_ms=20, chunk_ms=5))
    metrics.read(PageOutput("https://site.example/", extract_ms=30, chunk_ms=15))
    with metrics.publish_seconds.time():
        pass
    shown = generate_latest(metrics.registry).decode().splitlines()
    assert "headrace_producer_extract_seconds_sum 0.05" in shown
    assert "headrace_producer_chunk_seconds_sum 0.02" in shown
    assert {line for line in shown if "_seconds_count" in line} == {
        "headrace_producer_fetch_seconds_count 0.0",
        "headrace_producer_extract_seconds_count 2.0",
        "headrace_producer_chunk_seconds_count 2.0",
        "headrace_producer_publish_seconds_count 1.0",
    }
