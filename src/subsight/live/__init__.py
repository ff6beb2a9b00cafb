"""Live: arriving files and datagrams become micro-batches on the same path as any input.

`inbox` takes files as they land; `collector` takes datagrams, which `receiver` puts into a `spool` before
anybody looks at them; `status` says how far behind each is.
"""
