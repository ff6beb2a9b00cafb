"""Next-best offers: how usage becomes places on a map, and places become offers."""
