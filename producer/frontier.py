"""What is still to be visited: by priority, then in order of discovery; each URL once.

In memory is what comes next and what came last of each priority, the rest in a file (`spill`). A crawl that goes by
depth has entries of two or three depths at a time.
"""

from collections import deque
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Final

import msgspec

from producer.spill import SpillFile
from producer.urls import host_key
from producer.urltable import UrlTable

CAPACITY: Final = 10_000_000
"""URLs that are known at most: 300 MB of marks, and 2 GB on disk if all of them wait. One more is dropped, and the
crawl then never counts as complete."""
BLOCK: Final = 2_000
"""Entries written and read together: 200 KB. A priority holds two such blocks in memory."""
MAX_PASSED_OVER: Final = 2_000
"""Entries of hosts that are full, in memory; with so many, none of another host is looked for."""
MAX_HOPS: Final = 10
"""Redirects in a row. RFC 9110, 15.4 leaves the number open; browsers take 20, crawlers 5 to 10."""

_SEEN, _VISITED, _TOO_DEEP, _LEFT_OUT, _PASSED_OVER, _NAMED, _WAITS = 1, 2, 4, 8, 16, 32, 64


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """A page to visit. `depth`: links from a start URL; a redirect's target keeps its depth and counts `hops`.

    `as_it_is`: what it names as its canonical URL, or redirects to, has come to nothing; its own content counts.
    `named`: by a sitemap.
    """

    url: str
    depth: int
    discovered_from: str | None = None
    hops: int = 0
    as_it_is: bool = False
    named: bool = False

    @property
    def linked(self) -> bool:
        """Whether it is known by links alone."""
        return self.depth > 0 and not self.named

    @property
    def priority(self) -> int:
        """Lower ones are visited first: start URLs, what the site itself names, then what is near."""
        return self.depth + 1 if self.linked else int(self.named)


class Frontier:
    """Entries by priority; `add`, `pop`, `visited`.

    `directory` is for what memory is not to hold. `block` is for tests.
    """

    def __init__(
        self,
        max_depth: int | None = None,
        capacity: int = CAPACITY,
        directory: Path | None = None,
        block: int = BLOCK,
    ) -> None:
        self._max_depth, self._capacity = max_depth, capacity
        self._directory, self._block = directory, block
        self._levels: dict[int, _Queue] = {}
        self._urgent = self._queue()
        self._aside: dict[str, deque[Entry]] = {}
        self._passed_over = 0
        self._waiting = 0
        self._known = UrlTable()
        self._visited = 0
        self.overflowed = False
        """Something may have been linked that is not known: the frontier never counts as emptied any more."""

    def __len__(self) -> int:
        return self._waiting + len(self._urgent)

    @property
    def emptied(self) -> bool:
        """Everything that was ever found has been taken."""
        return len(self) == 0 and not self.overflowed

    @property
    def urgent(self) -> bool:
        """The next one was readmitted: it is visited whatever the limit of pages says."""
        return len(self._urgent) > 0

    @property
    def first(self) -> Entry | None:
        """What `pop` returns where no host is full."""
        if self._urgent:
            return self._urgent.first
        while self._levels:
            entry = self._levels[min(self._levels)].first
            if self._waits(entry):
                return entry
            self._pop_level()
        return None

    def add(self, entry: Entry) -> bool:
        """Whether it is new, not too deep, and there was room."""
        marks = self._known.get(entry.url)
        deep = self._max_depth is not None and entry.depth > self._max_depth
        if marks & (_TOO_DEEP if deep else _SEEN):
            return False
        if not marks and len(self._known) >= self._capacity:
            self.overflowed = True
            return False
        self._known.mark(entry.url, _TOO_DEEP if deep else _SEEN)
        if deep:
            return False
        self._append(entry)
        self._waiting += 1
        return True

    def hasten(self, entry: Entry) -> None:
        """Where its URL still waits, it waits in this entry's place too, and is taken from where it comes first.

        For ways that may be better than a link that was found before: redirects, which don't add to the depth, and
        sitemaps. There is one more entry for each redirect, and for each URL that sitemaps name, at most.
        """
        marks = self._known.get(entry.url)
        if marks & (_WAITS | _VISITED) == _WAITS and not (entry.named and marks & _NAMED):
            self._append(entry)

    def _append(self, entry: Entry) -> None:
        self._known.mark(entry.url, _WAITS | _NAMED if entry.named else _WAITS)
        level = self._levels.get(entry.priority)
        if level is None:
            level = self._levels[entry.priority] = self._queue()
        level.append(entry)

    def readmit(self, entry: Entry) -> None:
        """To be visited (again) and before all others, whatever is known of it."""
        before = self._known.mark(entry.url, _SEEN, remove=_VISITED)
        self._visited -= bool(before & _VISITED)
        self._urgent.append(entry)

    def pop(self, full: Container[str] = ()) -> Entry | None:
        """The next one, or None when there is none now; visits under way may still find more.

        Those of hosts that are `full` (see `host_key`) are passed over, and come first once theirs no longer is.
        """
        if self._urgent:
            return self._urgent.popleft()
        entry = self._pop_aside(full)
        while entry is None and self._levels and self._passed_over < MAX_PASSED_OVER:
            entry = self._pop_level()
            if not self._waits(entry):
                entry = None
            elif full and (host := host_key(entry.url)) in full:
                self._aside.setdefault(host, deque()).append(entry)
                self._passed_over += 1
                entry = None
        if entry is not None:
            self._known.mark(entry.url, 0, remove=_WAITS)
            self._waiting -= 1
        return entry

    def _pop_aside(self, full: Container[str]) -> Entry | None:
        while (host := next((host for host in self._aside if host not in full), None)) is not None:
            entry = self._aside[host].popleft()
            if not self._aside[host]:
                del self._aside[host]
            self._passed_over -= 1
            if self._waits(entry):
                return entry
        return None

    def _waits(self, entry: Entry) -> bool:
        """Unless it was hastened, and returned from where it came first."""
        return bool(self._known.get(entry.url) & _WAITS)

    def _pop_level(self) -> Entry:
        priority = min(self._levels)
        entry = self._levels[priority].popleft()
        if not self._levels[priority]:
            del self._levels[priority]
        return entry

    def mark_visited(self, url: str) -> None:
        """The page has a record; `add` takes it no more."""
        before = self._known.mark(url, _SEEN | _VISITED)
        self._visited += not (before & _VISITED)

    def seen(self, url: str) -> bool:
        """Whether `add` would not take it, however short the way to it."""
        return bool(self._known.get(url) & _SEEN)

    def settled(self, url: str) -> bool:
        """Whether it was added, or left out for good."""
        return bool(self._known.get(url) & (_SEEN | _LEFT_OUT))

    def visited(self, url: str) -> bool:
        return bool(self._known.get(url) & _VISITED)

    def too_deep(self, url: str) -> bool:
        """Whether a link to it lay deeper than allowed; it may have been visited by another one."""
        return bool(self._known.get(url) & _TOO_DEEP)

    def leave_out(self, url: str, *, for_good: bool) -> bool:
        """Marks what a link leads to and does not make a visit; whether it was not marked so before. Unless it is
        `for_good`, another page's link may still have it added."""
        mark = _LEFT_OUT if for_good else _PASSED_OVER
        if self._known.get(url) & mark:
            return False
        if len(self._known) >= self._capacity:
            self.overflowed = True
            return False
        self._known.mark(url, mark)
        return True

    def take_in(self, url: str) -> bool:
        """Takes back `leave_out` where it was not for good; whether it was called."""
        return bool(self._known.get(url) & _PASSED_OVER and self._known.mark(url, 0, remove=_PASSED_OVER))

    def left_out(self, url: str) -> bool:
        """Whether a link to it was left out; it may have been visited by another way."""
        return bool(self._known.get(url) & (_LEFT_OUT | _PASSED_OVER))

    def all_among(self, urls: Iterable[str]) -> bool:
        """Whether everything visited is among `urls`, which are distinct."""
        return sum(map(self.visited, urls)) == self._visited

    def _queue(self) -> "_Queue":
        return _Queue(self._directory, self._block)


class _Queue:
    """First in, first out: `_first`, then whole blocks in a file, then `_last`, which becomes the next block."""

    def __init__(self, directory: Path | None, block: int) -> None:
        self._block = block
        self._file = SpillFile(directory)
        self._blocks: deque[tuple[int, int]] = deque()
        self._first: deque[Entry] = deque()
        self._last: list[Entry] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def first(self) -> Entry:
        return self._first[0]

    def append(self, entry: Entry) -> None:
        self._count += 1
        if not self._blocks and not self._last and len(self._first) < self._block:
            self._first.append(entry)
            return
        self._last.append(entry)
        if len(self._last) >= self._block:
            data = _ENCODER.encode(self._last)
            self._blocks.append((self._file.append(data), len(data)))
            self._last.clear()

    def popleft(self) -> Entry:
        entry = self._first.popleft()
        self._count -= 1
        if not self._first:
            self._refill()
        return entry

    def _refill(self) -> None:
        if self._blocks:
            self._first.extend(_DECODER.decode(self._file.read(*self._blocks.popleft())))
            if not self._blocks:
                self._file.clear()
        else:
            self._first.extend(self._last)
            self._last.clear()


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(list[Entry])
