"""Extraction quality: labelled pages, what is their main text, and how much of it each extractor gives back."""
