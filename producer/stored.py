"""Pages' records on disk, as mappings by URL: in memory is where they lie."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from producer.spill import SpillFile
from schemas.pages import PageRecord

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(PageRecord)
_SIZE_BITS: Final = 24
"""A record has 1 MB at most."""


class StoredPages(Mapping[str, PageRecord]):
    """250 bytes of memory a page; reading one takes 10 us. What is put twice, or forgotten, leaves its bytes behind."""

    def __init__(self, file: SpillFile | None = None) -> None:
        self._file = file or SpillFile()
        self._places: dict[str, int] = {}

    def put(self, page: PageRecord) -> None:
        data = _ENCODER.encode(page)
        self._places[page.url] = self._file.append(data) << _SIZE_BITS | len(data)

    def forget(self, url: str) -> None:
        self._places.pop(url, None)

    def __getitem__(self, url: str) -> PageRecord:
        place = self._places[url]
        return _DECODER.decode(self._file.read(place >> _SIZE_BITS, place & (1 << _SIZE_BITS) - 1))

    def __contains__(self, url: object) -> bool:
        return url in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class PagesView(Mapping[str, PageRecord]):
    """Those of `pages` whose URL is among `urls`, each as `believed` makes it when it is looked at."""

    def __init__(
        self,
        pages: Mapping[str, PageRecord],
        urls: frozenset[str],
        believed: Callable[[PageRecord], PageRecord] = lambda page: page,
    ) -> None:
        self._pages, self._urls, self.believed = pages, urls, believed

    def __getitem__(self, url: str) -> PageRecord:
        if url not in self._urls:
            raise KeyError(url)
        return self.believed(self._pages[url])

    def __contains__(self, url: object) -> bool:
        return url in self._urls

    def __iter__(self) -> Iterator[str]:
        return iter(self._urls)

    def __len__(self) -> int:
        return len(self._urls)


class Layers(Mapping[str, PageRecord]):
    """Of several mappings the first that has a URL counts."""

    def __init__(self, *layers: Mapping[str, PageRecord]) -> None:
        self.layers = layers

    def __getitem__(self, url: str) -> PageRecord:
        for layer in self.layers:
            if url in layer:
                return layer[url]
        raise KeyError(url)

    def __contains__(self, url: object) -> bool:
        return any(url in layer for layer in self.layers)

    def __iter__(self) -> Iterator[str]:
        for number, layer in enumerate(self.layers):
            above = self.layers[:number]
            yield from (url for url in layer if not any(url in each for each in above))

    def __len__(self) -> int:
        return sum(1 for _ in self)
