"""From a page's bytes to a document: character set, main content, blocks of Markdown."""
