"""Segments for Acumos clients: both generations of the model runner's contract, on a port of its own.

Its clients cannot send a key, so it is a door beside the service's own, with nothing behind it but segments.
"""
