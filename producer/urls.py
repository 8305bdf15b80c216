"""Canonical URLs by the WHATWG URL standard, so that one page has one key in every topic."""

import re
from urllib.parse import unquote_plus

import ada_url

MAX_URL_CHARS = 2_048
"""Longer ones are almost always traps; they would also bloat every key and header that carries a URL."""

_TRACKING_PREFIXES = ("utm_", "mtm_", "pk_", "hsa_", "piwik_", "matomo_", "_hs")
_TRACKING_NAMES = frozenset(
    "fbclid gclid gclsrc dclid gbraid wbraid msclkid yclid twclid ttclid li_fat_id igshid mc_cid mc_eid "
    "vero_id oly_anon_id oly_enc_id wickedid s_cid mkt_tok srsltid _openstat _ga _gl".split()
)
_HAS_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.\-]*:")


class UrlError(ValueError):
    """The text isn't a URL that can be crawled; the message says why and quotes it."""


def canonical(url: str, base: str | None = None) -> str:
    """The one spelling under which a page is known.

    Resolves against `base`, lower-cases scheme and host, applies punycode and percent-encoding as browsers do,
    drops the fragment, the default port and tracking parameters; the rest of the query keeps its order.
    Raises UrlError for anything that isn't http(s), carries credentials, or has no host.
    """
    href = _parse(url, base).partition("#")[0]
    scheme, _, rest = href.partition(":")
    if scheme not in ("http", "https"):
        shown = "" if "@" in rest else f": {_quoted(url)}"  # what stands before an @ may be a password
        raise UrlError(f"only http and https can be crawled, not {scheme}{shown}")
    if "@" in rest.split("/", 3)[2]:
        raise UrlError(f"a URL must not carry a user name or password: {scheme}://…@{_host_of(rest)}")
    if "?" in href:
        href = _with_clean_query(href)
    if len(href) > MAX_URL_CHARS:
        raise UrlError(f"longer than {MAX_URL_CHARS} characters: {_quoted(url)}")
    return href


def host_key(url: str) -> str:
    """`host` or `host:port` of a canonical URL: what politeness and robots.txt are counted by."""
    return url.split("/", 3)[2]


def origin(url: str) -> str:
    """`scheme://host[:port]` of a canonical URL (RFC 6454)."""
    return "/".join(url.split("/", 3)[:3])


def path_of(url: str) -> str:
    """The path of a canonical URL, percent-encoded, without the query."""
    return "/" + url.split("/", 3)[3].partition("?")[0]


def _parse(url: str, base: str | None) -> str:
    """Normalised by the standard, as text: past this, `#`, `?` and `@` stand only where they mean something."""
    text = url.strip()
    if base is None and not _HAS_SCHEME.match(text):
        raise UrlError(f"not an absolute URL (did you mean https://{text}?): {_quoted(url)}")
    try:
        return ada_url.join_url(base, text) if base is not None else ada_url.normalize_url(text)
    except (ValueError, UnicodeError) as error:
        raise UrlError(f"not a valid URL: {_quoted(url)}") from error


def _with_clean_query(href: str) -> str:
    """Without tracking parameters, and without the mark of an empty query."""
    path, _, query = href.partition("?")
    kept = "&".join(part for part in query.split("&") if not _is_tracking(part))
    return f"{path}?{kept}" if kept else path


def _host_of(rest: str) -> str:
    return rest.split("/", 3)[2].rpartition("@")[2]


def _is_tracking(parameter: str) -> bool:
    name = unquote_plus(parameter.partition("=")[0]).lower()
    return name in _TRACKING_NAMES or name.startswith(_TRACKING_PREFIXES)


def _quoted(url: str) -> str:
    return repr(url if len(url) <= 200 else url[:200] + "…")
