"""What compacted topics say now, folded the same way in every service."""
