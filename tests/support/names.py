"""What a knowledge base is called that nobody named: command line and dashboard make the same of a URL."""

NAMES = {
    "https://www.Example.org/Docs/v2/": "example-org-docs-v2",
    "https://example.org/guide/index.html": "example-org-guide-index",
    "https://docs.example.org/api/": "docs-example-org-api",
    "https://docs.example.org/guide/?a=b#c": "docs-example-org-guide",
    "https://docs.example.org:443/./a/../guide": "docs-example-org-guide",
    "http://127.0.0.1:8790/reference/": "127-0-0-1-8790-reference",
    "http://[2001:DB8::1]/docs": "2001-db8-1-docs",
    "https://x.org/" + "a" * 100: "x-org-" + "a" * 58,
    "https://x.org/" + "a" * 57 + "-b": "x-org-" + "a" * 57,
    "http://日本.example/": "xn-wgv71a-example",
    "http://中国.example/": "xn-fiqs8s-example",
    "https://Bücher.example/über/": "xn-bcher-kva-example-c3-bcber",
    "https://x.org/日本/": "x-org-e6-97-a5-e6-9c-ac",
    "https://x.org/a|b{c}^d%20e": "x-org-a-b-c-d-e",
}
"""By URL."""
