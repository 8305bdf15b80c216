"""What on a page is frame, not content: judged by element name, role, class and id."""

import re
from functools import lru_cache

DROPPED_TAGS = frozenset(
    "script style template noscript svg nav footer iframe frame object embed applet canvas audio video "
    "button select input textarea datalist dialog map menu link meta title head".split()
)
DROPPED_ROLES = frozenset("navigation search banner contentinfo complementary menu menubar toolbar dialog".split())

_DROPPED_CLASSES = frozenset(
    "nav navbar navigation breadcrumb breadcrumbs md-nav md-header md-footer md-source-file md-sidebar "
    "wy-breadcrumbs sidebar sphinxsidebar toc table-of-contents tableofcontents localtoc tocsidebar page-toc "
    "on-this-page rst-footer-buttons rst-versions headerlink hash-link anchorjs-link header-anchor doc-anchor "
    "viewcode-link viewcode-back edit-this-page edit-page editlink edit-link mw-editsection md-content__button "
    "pagination pagination-nav pager prev-next prev-next-area related related-posts relations share social "
    "social-links feedback page-feedback cookie cookies cookie-banner cookie-consent advert advertisement ads "
    "skip-link skip-to-content skiplink sr-only visually-hidden screen-reader-text copybtn copy-button "
    "clipboard linenos lineno linenodiv line-numbers gutter navheader navfooter nav-wrapper nav-wide-wrapper "
    "nav-chapters mobile-nav-chapters site-header site-footer page-header-nav sub-nav top-nav bottom-nav "
    "subnav summary-nav skipnav navlink header-nav footer-nav catlinks printfooter noprint mw-jump-link navbox "
    "navpath header-toolbar rustdoc-toolbar rustdoc-breadcrumbs hideme nav-panel copy-path srclink rightside "
    "out-of-band notable-traits tooltip sidebar-menu site-nav site-menu main-nav main-menu footer site-info "
    "comments comment-respond disqus newsletter subscribe colophon".split()
)
_DROPPED_IDS = frozenset(
    "nav navbar navigation menu sidebar toc tableofcontents table-of-contents header footer breadcrumb "
    "breadcrumbs comments disqus_thread cookie-banner cookie-consent search searchbox related share side-nav "
    "nav-path top mw-navigation mw-panel jump-to-nav catlinks site-header site-footer page-footer gtoc "
    "alt-docs-box".split()
)
_DROPPED_PREFIX = re.compile(
    r"(?:theme-edit-this-page|tableOfContents_|tocCollapsible|breadcrumbsContainer|cookie-?consent)"
)
_SOURCE_LINK_CLASSES = frozenset(("src", "source"))
_KEPT_ASIDE = re.compile(
    r"\b(?:admonition|note|footnote|footnote-list|topic|starlight-aside|callout|alert|tip|warning|hint|important|caution|danger|info)\b"
)
_CHROME_HINT = re.compile(
    r"\b(?:nav|navbar|navigation|menu|sidebar|side-?bar|footer|header|breadcrumbs?|comments?|related|widget|toolbar|masthead)\b",
    re.IGNORECASE,
)


@lru_cache(maxsize=8_192)
def is_chrome_class(value: str) -> bool:
    """Whether a class attribute marks navigation and the like. Cached: a site repeats few values endlessly."""
    tokens = value.lower().split()
    if not _DROPPED_CLASSES.isdisjoint(tokens):
        return True
    if "contents" in tokens and ("topic" in tokens or "local" in tokens):  # Sphinx's local table of contents
        return True
    return any(_DROPPED_PREFIX.match(token) for token in value.split())


def is_source_link(class_value: str) -> bool:
    """rustdoc's and Javadoc's links to the source; on other elements the class marks code."""
    return not _SOURCE_LINK_CLASSES.isdisjoint(class_value.split())


def is_chrome_id(value: str) -> bool:
    return value.lower() in _DROPPED_IDS


@lru_cache(maxsize=1_024)
def is_kept_aside(class_value: str) -> bool:
    """Generators use `aside` for admonitions and footnotes too."""
    return _KEPT_ASIDE.search(class_value) is not None


@lru_cache(maxsize=8_192)
def hints_at_chrome(value: str) -> bool:
    """Whether a class or id suggests that the page has a frame around its content."""
    return _CHROME_HINT.search(value) is not None
