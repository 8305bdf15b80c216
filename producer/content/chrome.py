"""What on a page is frame, not content: judged by element name, role, class and id."""

import re
from functools import lru_cache

DROPPED_TAGS = frozenset(
    "script style template noscript svg nav footer iframe frame object embed applet canvas audio video "
    "button select input textarea datalist dialog map menu link meta title head".split()
)
DROPPED_ROLES = frozenset(
    "navigation search banner contentinfo complementary menu menubar toolbar dialog tooltip".split()
)

_NAVIGATION = (
    "nav navbar navigation breadcrumb breadcrumbs wy-breadcrumbs rustdoc-breadcrumbs sidebar sphinxsidebar md-sidebar "
    "sidebar-menu md-nav site-nav site-menu main-nav main-menu mobile-nav-chapters nav-chapters nav-wrapper nav-panel "
    "nav-wide-wrapper navheader navfooter navpath navbox navlink header-nav footer-nav sub-nav subnav summary-nav "
    "page-header-nav top-nav bottom-nav nav-links post-nav rst-footer-buttons rst-versions pagination pagination-nav "
    "pager prev-next prev-next-area t-navbar parentlinks coliru-btn"
)
_CONTENTS = (
    "toc table-of-contents tableofcontents localtoc tocsidebar page-toc on-this-page dw__toc theme-doc-toc-mobile "
    "documentation-index documentation-examples"
)
_FRAME = (
    "md-header md-footer site-header site-footer footer site-info colophon header-toolbar rustdoc-toolbar catlinks "
    "printfooter noprint comments comment-respond disqus newsletter subscribe related related-posts relations share "
    "social social-links feedback page-feedback cookie cookies cookie-banner cookie-consent cc-window advert "
    "advertisement ads announcement-bar pageid docinfo unitfiles last-updated theme-last-updated"
)
_CONTROLS = (
    "headerlink hash-link anchorjs-link header-anchor doc-anchor viewcode-link viewcode-back edit-this-page edit-page "
    "editlink edit-link mw-editsection editsection secedit md-content__button md-source-file skip-link "
    "skip-to-content skiplink skipnav mw-jump-link copybtn copy-button copy-path clipboard srclink rightside "
    "out-of-band notable-traits test-arrow footnote-backref footnote-back reversefootnote mathjax_preview"
)
_LINE_NUMBERS = "linenos lineno linenodiv line-numbers linenums__num listing_lines gutter rouge-gutter lnt ln"
_UNSEEN = "sr-only visually-hidden screen-reader-text hideme boring ttc dynheader dyncontent"
"""Not shown, or a picture's frame: `boring` are mdBook's folded lines, the last three Doxygen's tooltips and graphs."""

_DROPPED_CLASSES = frozenset(" ".join((_NAVIGATION, _CONTENTS, _FRAME, _CONTROLS, _LINE_NUMBERS, _UNSEEN)).split())
_HIDDEN_CLASSES = frozenset(("hidden", "d-none", "is-hidden"))
_SHOWN_AGAIN = re.compile(r"(?:^|\s)(?:\w+:(?:block|flex|grid|inline|table|contents)|d-\w+-\w+)")
"""Tailwind's and Bootstrap's way to hide an element on small screens only."""
_DROPPED_PREFIX = re.compile(
    r"(?:theme-edit-this-page|tableOfContents_|tocCollapsible|breadcrumbsContainer|breadcrumbs?__|cookie-?consent"
    r"|(?:related|recommend(?:ed|ations?)?|trending|most-(?:read|popular)|social|shar(?:e|ing)|sharedaddy|newsletter"
    r"|promo|sponsor(?:ed)?|advert(?:isement)?|ads?|outbrain|taboola|author-(?:bio|box|card)|tags?-links|post-tags"
    r"|comments?-(?:area|list|section|wrapper|container|form)|story-(?:related|footer)|article-(?:footer|tags|share))(?:[-_]|$))",
    re.IGNORECASE,
)
_DROPPED_IDS = frozenset(
    "nav navbar navigation menu sidebar toc tableofcontents table-of-contents header footer breadcrumb "
    "breadcrumbs comments disqus_thread cookie-banner cookie-consent search searchbox related share side-nav "
    "nav-path mw-navigation mw-panel jump-to-nav catlinks site-header site-footer page-footer gtoc "
    "alt-docs-box".split()
)
_SURE_IDS = frozenset(
    "dw__toc siteSub contentSub jump-to-nav catlinks mw-navigation onetrust-consent-sdk disqus_thread comments respond "
    "jp-relatedposts".split()
)
"""Ids that no heading comes by: they count inside a main part too."""
_SOURCE_LINK_CLASSES = frozenset(("src", "source"))
_KEPT_ASIDE = re.compile(
    r"\b(?:admonition|note|footnote|footnote-list|topic|starlight-aside|callout|alert|tip|warning|hint|important|caution|danger|info)\b"
)
_CHROME_HINT = re.compile(
    r"\b(?:nav|navbar|navigation|menu|sidebar|side-?bar|footer|header|breadcrumbs?|comments?|related|widget|toolbar|masthead)\b",
    re.IGNORECASE,
)
_CONTROL_TEXTS = frozenset(
    "edit this page|edit page|edit this page on github|edit on github|edit on gitlab|edit me on github|edit source|"
    "improve this page|suggest edits|suggest changes|view page source|view source on github|show source|page source|"
    "report an issue|report an issue with this page|report a bug|back to top|skip to content|skip to main content|"
    "return to main contents|permalink|copy link|copy page|print this page".split("|")
)

_LOCAL_CONTROL_TEXTS = frozenset(("index", "top", "contents", "table of contents"))


@lru_cache(maxsize=8_192)
def is_chrome_class(value: str) -> bool:
    """Whether a class attribute marks navigation and the like. Cached: a site repeats few values endlessly."""
    tokens = value.lower().split()
    if not _DROPPED_CLASSES.isdisjoint(tokens):
        return True
    if not _HIDDEN_CLASSES.isdisjoint(tokens) and not _SHOWN_AGAIN.search(value):
        return True
    if "contents" in tokens and ("topic" in tokens or "local" in tokens):  # Sphinx's local table of contents
        return True
    return any(_DROPPED_PREFIX.match(token) for token in value.split())


def is_source_link(class_value: str) -> bool:
    """rustdoc's and Javadoc's links to the source; on other elements the class marks code."""
    return not _SOURCE_LINK_CLASSES.isdisjoint(class_value.split())


def is_control_text(text: str, local: bool) -> bool:
    """Whether a link of these words does something with the page instead of leading on. `local`: within the page."""
    words = " ".join(text.split()).lower()
    return words in _CONTROL_TEXTS or (local and words in _LOCAL_CONTROL_TEXTS)


def is_chrome_id(value: str, sure: bool = False) -> bool:
    """`sure`: only those that are frame wherever they stand."""
    return value in _SURE_IDS or (not sure and value.lower() in _DROPPED_IDS)


@lru_cache(maxsize=1_024)
def is_kept_aside(class_value: str) -> bool:
    """Generators use `aside` for admonitions and footnotes too."""
    return _KEPT_ASIDE.search(class_value) is not None


@lru_cache(maxsize=8_192)
def hints_at_chrome(value: str) -> bool:
    """Whether a class or id suggests that the page has a frame around its content."""
    return _CHROME_HINT.search(value) is not None
