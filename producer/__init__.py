"""The crawler service: from a start URL to chunks on the log."""
