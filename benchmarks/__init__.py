"""How fast srlib is, against the recipes its users would otherwise reach for: `make bench`."""
