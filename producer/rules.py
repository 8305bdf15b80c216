"""The text of a robots.txt, and what it allows one crawler.

Lines and groups are read here as RFC 9309, 2.2 and Google's parser have them; paths are matched by Protego. It would
take a group named `head` for one of `headrace`, one named `headrace/1.0` for somebody else's, and would let a line that
it doesn't know end a group.
"""

import math
import re
from typing import Final

from protego import Protego

_DISALLOW: Final = frozenset({"disallow", "dissallow", "dissalow", "disalow", "diasllow", "disallaw"})
_RULES: Final = _DISALLOW | {"allow"}
_USER_AGENT: Final = frozenset({"user-agent", "useragent", "user agent"})
_SITEMAP: Final = frozenset({"sitemap", "site-map"})
_CRAWL_DELAY: Final = frozenset({"crawl-delay"})
_NO_COLON: Final = _RULES | _USER_AGENT | _SITEMAP | _CRAWL_DELAY

MAX_LINE_CHARS: Final = 16_664
"""Google's bound, eight times the longest URL that browsers took; the rest of a line is ignored."""
MANY: Final = 1_000
"""Rules that take a millisecond to match; 500 KB of them take 40."""
ANY: Final = "*"

_NOT_ASCII = re.compile(rb"[\x80-\xff]")
_SLASH = re.compile("%2f", re.IGNORECASE)
_ANY_AGENT = re.compile(r"\*(\s|$)")
_TOKEN = re.compile(r"[a-zA-Z_-]+")


class Rules:
    """What a file says to the crawler `token`. `crawl_delay_s`: what its group asks for; `sitemaps`: not canonical.

    `many`: `allow` may take longer than the event loop should wait.
    """

    def __init__(self, body: bytes, token: str) -> None:
        groups = _Groups(token.lower())
        for name, value in _lines(body):
            groups.read(name, value)
        own = groups.own if groups.named else groups.general
        self.crawl_delay_s = own.crawl_delay_s
        self.sitemaps = groups.sitemaps
        self._rules = own.rules
        self._paths = _paths(own.rules)
        self.many = len(own.rules) > MANY

    def allow(self, url: str) -> bool:
        """Whether a canonical URL may be fetched; robots.txt itself always may."""
        return _allows(self._paths, url)

    def forbidding(self, url: str) -> str | None:
        """The longest of the rules that forbid the URL, if any, such as `disallow: /a/`. Slow: tries each by itself."""
        return max((rule for rule in self._rules if not _allows(_paths([rule]), url)), key=len, default=None)


def _paths(rules: list[str]) -> Protego:
    return Protego.parse("\n".join(["user-agent: *", *rules]))


def _allows(paths: Protego, url: str) -> bool:
    return all(paths.can_fetch(spelling, ANY) for spelling in _spellings(url))


class _Group:
    def __init__(self) -> None:
        self.rules: list[str] = []
        self.crawl_delay_s: float | None = None


class _Groups:
    """Reads line by line. All groups of one name are one (RFC 9309, 2.2.1)."""

    def __init__(self, token: str) -> None:
        self.own, self.general = _Group(), _Group()
        self.named = False
        self.sitemaps: list[str] = []
        self._token = token
        self._ruled: list[_Group] = []
        self._delayed: list[_Group] = []
        """A line that is no rule must not end a group (2.2.4), so a user-agent behind `Crawl-delay` joins the group's
        rules; the delay was meant for those before it."""
        self._rule_seen = self._delay_seen = False

    def read(self, name: str, value: str) -> None:
        if name in _USER_AGENT:
            self._name(value)
        elif name in _RULES:
            self._rule_seen = True
            for group in self._ruled if value else ():
                group.rules.append(f"{'disallow' if name in _DISALLOW else name}: {value}")
        elif name in _CRAWL_DELAY:
            self._delay_seen = True
            self._delay(value)
        elif name in _SITEMAP and value:
            self.sitemaps.append(value)

    def _name(self, value: str) -> None:
        if self._rule_seen:
            self._ruled = []
        if self._rule_seen or self._delay_seen:
            self._delayed = []
        self._rule_seen = self._delay_seen = False
        if _ANY_AGENT.match(value):
            self._join(self.general)
        elif (token := _TOKEN.match(value)) and token[0].lower() == self._token:
            self.named = True
            self._join(self.own)

    def _join(self, group: _Group) -> None:
        self._ruled.append(group)
        self._delayed.append(group)

    def _delay(self, value: str) -> None:
        try:
            seconds = float(value)
        except ValueError:
            return
        if math.isfinite(seconds) and seconds >= 0:
            for group in self._delayed:
                group.crawl_delay_s = max(seconds, group.crawl_delay_s or 0.0)


def _spellings(url: str) -> set[str]:
    """In a query `/` and `%2F` mean the same, and 2.2.2 has a rule with one match a URL with the other. In a path they
    don't, so Protego keeps them apart."""
    path, mark, query = url.partition("?")
    if "/" not in query and "%2" not in query:
        return {url}
    plain = _SLASH.sub("/", query)
    return {url, f"{path}{mark}{plain}", f"{path}{mark}{plain.replace('/', '%2F')}"}


def _lines(body: bytes) -> list[tuple[str, str]]:
    """Name in lower case, and value. Bytes beyond ASCII are percent-encoded, whatever charset they are of: so are they
    in a canonical URL, and 2.2.2 compares octets."""
    body = body.removeprefix(b"\xef\xbb\xbf").replace(b"\0", b"")
    text = _NOT_ASCII.sub(lambda found: b"%%%02X" % found[0][0], body).decode("ascii")
    found = []
    for line in re.split(r"\r\n|\r|\n", text):
        parsed = _parse(line[:MAX_LINE_CHARS].partition("#")[0])
        if parsed is not None:
            found.append(parsed)
    return found


def _parse(line: str) -> tuple[str, str] | None:
    name, colon, value = line.partition(":")
    if colon:
        return " ".join(name.lower().split()), " ".join(value.split())
    words = line.split()  # a forgotten colon, as Google's parser forgives it
    if len(words) == 2 and words[0].lower() in _NO_COLON:
        return words[0].lower(), words[1]
    return None
