"""The self-organising map: a grid of nodes laid through the rows, near nodes where rows are alike.

Trained in batches (Kohonen 2013, "Essentials of the self-organizing map").
"""
