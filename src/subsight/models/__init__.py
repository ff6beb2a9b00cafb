"""Models: fitted on a bounded sample, kept as open parameters with a card, scored in the engine.

A fit record is plain JSON: `{"name", "features", "parameters", "fit", "card"}`. Nothing of a model is
ever unpickled; `in_engine` turns its parameters into expressions.
"""
