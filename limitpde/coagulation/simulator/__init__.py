"""Brownian particles that react in pairs: their paths, their encounters, and what happens in a step."""
