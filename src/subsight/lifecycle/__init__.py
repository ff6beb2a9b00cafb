"""A model's life in service."""
