"""Readers of vendor formats: a file becomes canonical rows and rejects, each with a reason."""
