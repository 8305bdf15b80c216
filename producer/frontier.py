"""What is still to be visited: by priority, then in order of discovery; each URL once."""

import hashlib
from collections import deque
from collections.abc import Iterable
from typing import Final

import msgspec

CAPACITY: Final = 500_000
"""Entries that wait at most: about 150 MB of URLs. One more is dropped, and the crawl then never counts as complete."""
MAX_HOPS: Final = 10
"""Redirects in a row. RFC 9110, 15.4 leaves the number open; browsers take 20, crawlers 5 to 10."""


class Entry(msgspec.Struct, frozen=True):
    """A page to visit. `depth`: links from a start URL; a redirect's target keeps its depth and counts `hops`."""

    url: str
    depth: int
    discovered_from: str | None = None
    hops: int = 0

    @property
    def priority(self) -> int:
        """Lower ones are visited first."""
        return self.depth


class Frontier:
    """Entries by priority. Pure; `add`, `pop`, `visited`.

    Remembers 16 bytes per URL, not the URL: two of 10 million share a hash with a probability of 10^-25.
    """

    def __init__(self, max_depth: int | None = None, capacity: int = CAPACITY) -> None:
        self._max_depth, self._capacity = max_depth, capacity
        self._levels: dict[int, deque[Entry]] = {}
        self._waiting = 0
        self._seen: set[bytes] = set()
        self._visited: set[bytes] = set()
        self._too_deep: set[bytes] = set()
        self._urgent: deque[Entry] = deque()
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
        return bool(self._urgent)

    def add(self, entry: Entry) -> bool:
        """Whether it is new, not too deep, and there was room."""
        key = _key(entry.url)
        if self._max_depth is not None and entry.depth > self._max_depth:
            self._too_deep.add(key)
            return False
        if key in self._seen:
            return False
        if self._waiting >= self._capacity:
            self.overflowed = True
            return False
        self._seen.add(key)
        self._append(entry)
        return True

    def readmit(self, entry: Entry) -> None:
        """To be visited (again) and before all others, whatever is known of it."""
        key = _key(entry.url)
        self._seen.add(key)
        self._visited.discard(key)
        self._urgent.append(entry)

    def pop(self) -> Entry | None:
        """The next one, or None when there is none now; visits under way may still find more."""
        if self._urgent:
            return self._urgent.popleft()
        if not self._waiting:
            return None
        priority = min(self._levels)
        level = self._levels[priority]
        entry = level.popleft()
        if not level:
            del self._levels[priority]
        self._waiting -= 1
        return entry

    def mark_visited(self, url: str) -> None:
        """The page has a record; `add` takes it no more."""
        key = _key(url)
        self._seen.add(key)
        self._visited.add(key)

    def visited(self, url: str) -> bool:
        return _key(url) in self._visited

    def too_deep(self, url: str) -> bool:
        """Whether a link to it lay deeper than allowed; it may have been visited by another one."""
        return _key(url) in self._too_deep

    def all_among(self, urls: Iterable[str]) -> bool:
        """Whether everything visited is among `urls`, which are distinct."""
        return sum(map(self.visited, urls)) == len(self._visited)

    def _append(self, entry: Entry) -> None:
        self._levels.setdefault(entry.priority, deque()).append(entry)
        self._waiting += 1


def _key(url: str) -> bytes:
    return hashlib.blake2b(url.encode(), digest_size=16).digest()
