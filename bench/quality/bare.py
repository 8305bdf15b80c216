"""Pages as a site of no known generator would have them: the same tree without semantics.

`main`, `article`, `nav` and the like become `div`; roles go; classes and ids become names that say nothing, the same
for the same on every page, since a template repeats them.
"""

import hashlib
from typing import Any

from lxml import html

_SEMANTIC = frozenset("main article section nav aside header footer hgroup figure figcaption details summary".split())
_DROPPED_ATTRIBUTES = ("role", "itemprop", "itemtype", "itemscope", "title", "rel", "accesskey", "summary")


def bare(body: bytes) -> bytes:
    text = body.decode("utf-8", "replace")
    root = html.document_fromstring(text.encode(), html.HTMLParser(encoding="utf-8"))
    for element in root.iter():
        if not isinstance(element.tag, str):
            continue
        if element.tag in _SEMANTIC:
            element.tag = "div"
        _rename(element.attrib)
    return bytes(html.tostring(root, encoding="utf-8", doctype="<!DOCTYPE html>"))


def _rename(attributes: Any) -> None:
    for name in list(attributes):
        if name in _DROPPED_ATTRIBUTES or name.startswith(("aria-", "data-")):
            del attributes[name]
        elif name == "class":
            attributes[name] = " ".join(map(_hashed, attributes[name].split()))
        elif name in ("id", "name") or (name == "href" and attributes[name].startswith("#")):
            attributes[name] = ("#" if name == "href" else "") + _hashed(attributes[name].lstrip("#"))


def _hashed(name: str) -> str:
    return "x" + hashlib.sha256(name.encode()).hexdigest()[:6]
