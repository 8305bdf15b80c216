"""What a crawl has to remember of every URL it ever met: a few marks, without the URL."""

from array import array
from typing import Final

_SHARDS: Final = 256
"""Each grows on its own: of 10 million URLs one holds 40,000, which are moved in 20 ms; all at once take 5 s."""
_FIRST_SLOTS: Final = 64
_MASK: Final = 2**64 - 1


class _Shard:
    """An open-addressing hash table with linear probing; a key of 0 is a free slot."""

    __slots__ = ("keys", "marks", "used")

    def __init__(self) -> None:
        self.keys, self.marks, self.used = array("Q", bytes(8 * _FIRST_SLOTS)), bytearray(_FIRST_SLOTS), 0

    def slot(self, key: int) -> int:
        """Where the key is, or would be."""
        keys = self.keys
        last = len(keys) - 1
        at = key & last
        while (found := keys[at]) and found != key:
            at = (at + 1) & last
        return at

    def grow(self) -> None:
        keys, marks = self.keys, self.marks
        self.keys, self.marks = array("Q", bytes(16 * len(keys))), bytearray(2 * len(keys))
        for key, mark in zip(keys, marks, strict=True):
            if key:
                at = self.slot(key)
                self.keys[at], self.marks[at] = key, mark


class UrlTable:
    """Eight marks per URL, in 13 to 27 bytes; nothing is ever taken out.

    It keeps the 64 bits of Python's own hash of the URL: SipHash, keyed anew by each process (PEP 456), so that no
    site can make two collide. Among 10 million URLs any two do with a probability of 3 in a million.
    """

    def __init__(self) -> None:
        self._shards = [_Shard() for _ in range(_SHARDS)]
        self._count = 0

    def __len__(self) -> int:
        """URLs that were ever marked."""
        return self._count

    def get(self, url: str) -> int:
        """The URL's marks; 0 when it has none."""
        key = hash(url) & _MASK or 1
        shard = self._shards[key >> 56]
        return shard.marks[shard.slot(key)]

    def mark(self, url: str, add: int, remove: int = 0) -> int:
        """Adds marks, after it has removed some; gives those that were there before."""
        key = hash(url) & _MASK or 1
        shard = self._shards[key >> 56]
        at = shard.slot(key)
        before = shard.marks[at]
        if not shard.keys[at]:
            shard.keys[at] = key
            shard.used += 1
            self._count += 1
        shard.marks[at] = before & ~remove | add
        if 3 * shard.used > 2 * len(shard.keys):
            shard.grow()
        return before
