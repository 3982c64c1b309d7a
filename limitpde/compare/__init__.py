"""Empirical measures against solutions: test functions, statistics of residuals, fitted rates."""
