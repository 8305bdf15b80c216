"""A web site of real documentation that is on every machine: Python's language reference, as `pydoc` carries it.

with SampleSite() as site:
    site.url
"""

from headrace.sample.site import HOST, PORT, SampleSite

__all__ = ["HOST", "PORT", "SampleSite"]
