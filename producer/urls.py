"""Canonical URLs by the WHATWG URL standard, so that one page has one key in every topic.

Four things are dropped beyond the standard's own normalisation, since they don't name another page: the fragment (of
`#!` too: that scheme is dead, and what it loads takes a browser), the mark of an empty query, tracking parameters, and
session ids in path and query. The rest of a query keeps its order: sorting it can change what a server answers
(repeated names, `a[]=`), and pages that two orders of it do name are recognised by their content.
The table tests/unit/producer/url_cases.json holds what is expected, and marks each case that is ours with the reason.
"""

import re
from urllib.parse import unquote_plus

import ada_url

MAX_URL_CHARS = 2_048
"""Longer ones are almost always traps; they would also bloat every key and header that carries a URL."""
MAX_QUOTED_CHARS = 200

_TRACKING_PREFIXES = ("utm_", "mtm_", "hsa_", "piwik_", "matomo_", "_hs")
_TRACKING_NAMES = frozenset(
    "fbclid gclid gclsrc dclid gbraid wbraid msclkid yclid twclid ttclid li_fat_id igshid mc_cid mc_eid "
    "vero_id oly_anon_id oly_enc_id wickedid s_cid mkt_tok srsltid _openstat _ga _gl "
    "pk_campaign pk_cpn pk_kwd pk_keyword pk_source pk_medium pk_content pk_cid".split()
)
_HAS_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.\-]*:")
_C0_AND_SPACE = "".join(map(chr, range(0x21)))
"""What the standard takes off both ends; Python's own idea of white space is wider."""
_TAB_OR_NEWLINE = str.maketrans("", "", "\t\n\r")

_SESSION_NAMES = frozenset("jsessionid phpsessid asp.net_sessionid cfid cftoken oscsid zenid xtcsid".split())
_PERHAPS_SESSION_NAMES = frozenset(("sid", "s", "session", "sessionid", "session_id", "sessid"))
"""They name sections, searches and a conference's talks, too, so their value must look like a token."""
_SESSION_PREFIX = "aspsessionid"
_TOKEN = re.compile(r"(?=[a-z]*\d)(?:[0-9a-f]{16,64}|(?=\d*[a-z])[0-9a-z]{24,128})", re.I)
_PATH_SESSION = re.compile(r";(?:jsessionid|phpsessid)=[^/?;]*|(?<=/)\((?:[A-Z]\([^()/?]*\))+\)/", re.I)
"""`;jsessionid=…` of servlet containers, and the segment `(S(…))/` of ASP.NET."""
_PATH_PERHAPS_SESSION = re.compile(r";sid=([^/?;]*)", re.I)


class UrlError(ValueError):
    """The text isn't a URL that can be crawled; the message says why and quotes it, unless it may hold a password."""


def canonical(url: str, base: str | None = None) -> str:
    """The one spelling under which a page is known.

    Resolves against `base`, lower-cases scheme and host, applies punycode and percent-encoding as browsers do,
    drops the fragment, the default port, tracking parameters and session ids; the rest of the query keeps its order.
    Raises UrlError for anything that isn't http(s), carries credentials, or has no host.
    """
    href = _parse(url, base).partition("#")[0]
    scheme = href.partition(":")[0]
    if scheme not in ("http", "https"):
        raise UrlError(f"only http and https can be crawled, not {scheme}{quoted(url)}")
    if "?" in href:
        href = _with_clean_query(href)
    if ";" in href or "/(" in href:
        href = _without_path_sessions(href)
    if "@" in host_key(href):
        raise UrlError(
            f"a URL must not carry a user name or password: {scheme}://…@{host_key(href).rpartition('@')[2]}"
        )
    if len(href) > MAX_URL_CHARS:
        raise UrlError(f"longer than {MAX_URL_CHARS} characters{quoted(url)}")
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
    text = url.strip(_C0_AND_SPACE).translate(_TAB_OR_NEWLINE)
    if base is None and not _HAS_SCHEME.match(text):
        meant = "" if "@" in text else f" (did you mean https://{text[:MAX_QUOTED_CHARS]}?)"
        raise UrlError(f"not an absolute URL{meant}{quoted(url)}")
    try:
        return ada_url.join_url(base, text) if base is not None else ada_url.normalize_url(text)
    except (ValueError, UnicodeError) as error:
        raise UrlError(f"not a valid URL{quoted(url)}") from error


def _with_clean_query(href: str) -> str:
    """Without tracking parameters, session ids, and the mark of an empty query."""
    path, _, query = href.partition("?")
    kept = "&".join(part for part in query.split("&") if not _is_dropped(part))
    return f"{path}?{kept}" if kept else path


def _without_path_sessions(href: str) -> str:
    """Once more through the parser where something went: `..;jsessionid=1` is a dot segment without its id, and
    `(S(…));jsessionid=1/` a session id."""
    site = origin(href)
    path, mark, query = href[len(site) :].partition("?")
    clean = _PATH_SESSION.sub("", path)
    clean = _PATH_PERHAPS_SESSION.sub(lambda found: "" if _TOKEN.fullmatch(found[1]) else found[0], clean)
    return href if clean == path else _without_path_sessions(_parse(site + clean + mark + query, None))


def _is_dropped(parameter: str) -> bool:
    raw_name, _, value = parameter.partition("=")
    name = unquote_plus(raw_name).lower()
    if name in _TRACKING_NAMES or name in _SESSION_NAMES:
        return True
    if name.startswith((*_TRACKING_PREFIXES, _SESSION_PREFIX)):
        return True
    return name in _PERHAPS_SESSION_NAMES and _TOKEN.fullmatch(value) is not None


def quoted(url: str) -> str:
    """For the end of a message; empty where what stands before an @ may be a password."""
    if "@" in url:
        return ""
    return f": {url if len(url) <= MAX_QUOTED_CHARS else url[:MAX_QUOTED_CHARS] + '…'!r}"
