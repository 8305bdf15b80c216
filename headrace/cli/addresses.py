"""What a URL tells before anything is fetched: a name for its knowledge base, and whether it is a private address."""

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

import ada_url
import click

from headrace.addresses import range_around
from schemas import kb


def slug_of(url: str) -> str:
    """A KB id from host and path: `https://example.org/docs/v2/` gives `example-org-docs-v2`.

    As browsers read a URL (a host in punycode, a path percent-encoded), so that two scripts don't give one name; which
    of ASCII they encode differs, so that is no letter either way. The dashboard proposes the same, by
    control/dashboard/names.js; tests hold both to tests/support/names.py.
    """
    parts = ada_url.URL(url)
    words = re.sub(r"\.(html?|php|aspx?)$", "", f"{parts.host}{parts.pathname}".lower())
    spaced = re.sub(r"%[2-7][0-9a-f]|[^a-z0-9]", "-", words.removeprefix("www."))
    return re.sub("-+", "-", spaced).strip("-")[:64].strip("-")


def same_urls(one: Iterable[str], other: Iterable[str]) -> bool:
    """In whatever order, and however spelled."""
    return set(map(_spelled, one)) == set(map(_spelled, other))


def _spelled(url: str) -> str:
    try:
        return ada_url.normalize_url(url)
    except ValueError:  # a record from before such were refused
        return url


def directory_of(url: str) -> str | None:
    """The URL with a slash at its end, where its last segment reads like a directory's name; without the slash its
    scope is what lies around it."""
    parts = urlsplit(url)
    segment = parts.path.rpartition("/")[2]
    named = segment and "." not in segment and "@" not in parts.netloc
    return f"{parts.scheme}://{parts.netloc}{parts.path}/" if named else None


def check_url(url: str) -> str:
    """Raises UsageError, as a definition with it would be refused."""
    try:
        kb.check_url(url)
    except kb.InvalidDefinition as exc:
        meant = f"https://{url}" if "." in url and "://" not in url else "https://example.org/docs/"
        raise click.UsageError(f"{exc}; write it like {meant}" if str(exc).endswith("https URL") else str(exc)) from exc
    return url


def private_range(url: str) -> str | None:
    """The CIDR range that a crawl of `url` needs beyond public addresses, as far as the URL itself tells."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return "127.0.0.0/8"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a name: only its resolution tells, and that is the crawler's
        return None
    return None if address.is_global else range_around(host)


def is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def covered(needed: str, allowed: tuple[str, ...]) -> bool:
    """Whether one of the allowed ranges overlaps the needed one; a malformed range is for control to judge."""
    for text in allowed:
        try:
            if ipaddress.ip_network(text).overlaps(ipaddress.ip_network(needed)):
                return True
        except (ValueError, TypeError):
            return True
    return False
