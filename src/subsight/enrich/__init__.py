"""Enrichment: a canonical table becomes a canonical table with more columns."""
