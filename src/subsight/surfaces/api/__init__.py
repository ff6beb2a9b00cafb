"""The HTTP service: predictions, subscribers and the models' cards, from one process.

`server.serve` runs it, `app.create_app` makes it, `keys.ApiKeys` makes and revokes keys. They are
imported where they are needed: nothing here loads FastAPI.
"""
