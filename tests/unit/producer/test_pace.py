"""How many requests at once: grows while latency stays near its best, shrinks when it rises or the host refuses."""

from producer.pace import FIRST_LIMIT, Pace


class Host:
    """Answers in rounds at the pace's limit; `now` moves by each round's latency."""

    def __init__(self) -> None:
        self.pace, self.now = Pace(), 0.0

    def rounds(self, ms: float, times: int = 1, *, most: int = 8, full: bool = True) -> int:
        for _ in range(times):
            started, self.now = self.now, self.now + ms / 1e3
            for _ in range(max(self.pace.limit, 4)):
                self.pace.answered(started, self.now, most=most, full=full)
        return self.pace.limit


def test_it_begins_low_and_grows_by_one_a_round_up_to_what_is_allowed() -> None:
    host = Host()
    assert host.pace.limit == FIRST_LIMIT == 2
    assert [host.rounds(50) for _ in range(8)] == [3, 4, 5, 6, 7, 8, 8, 8]


def test_it_does_not_grow_while_places_stay_free() -> None:
    assert Host().rounds(50, 10, full=False) == 2


def test_latency_that_rises_takes_places_away_and_a_moderate_rise_holds() -> None:
    host = Host()
    host.rounds(400, 6)
    assert host.rounds(820) == 8, "neither near its best nor twice as slow"
    assert [host.rounds(1_500) for _ in range(6)] == [6, 4, 3, 2, 1, 1]
    assert host.rounds(400, 3) == 4


def test_a_single_slow_page_proves_nothing() -> None:
    host = Host()
    host.rounds(50, 6)
    started, host.now = host.now, host.now + 9
    host.pace.answered(started, host.now, most=8, full=True)
    for _ in range(7):
        host.pace.answered(host.now - 0.05, host.now, most=8, full=True)
    assert host.pace.limit == 8


def test_this_machines_own_load_is_not_the_hosts() -> None:
    host = Host()
    host.rounds(3, 6)
    assert host.rounds(100, 20) == 8


def test_a_host_that_became_slower_for_good_gets_its_places_back() -> None:
    host = Host()
    host.rounds(100, 6)
    assert host.rounds(1_000, 40) == 1
    assert host.rounds(1_000, 60) == 8


def test_refusals_of_one_moment_halve_it_once() -> None:
    host = Host()
    host.rounds(50, 6)
    started = host.now
    for _ in range(8):
        host.pace.overloaded(started, host.now + 0.1)
    assert host.pace.limit == 4
    host.pace.overloaded(host.now + 0.2, host.now + 0.3)
    assert host.pace.limit == 2


def test_answers_to_what_was_asked_before_it_shrank_do_not_count() -> None:
    host = Host()
    host.pace.overloaded(0.0, 1.0)
    for _ in range(20):
        host.pace.answered(0.5, 1.1, most=8, full=True)
    assert host.pace.limit == 1


def test_it_never_falls_below_one() -> None:
    host = Host()
    for n in range(9):
        host.pace.overloaded(n, n + 0.5)
    assert host.pace.limit == 1
