"""The objects of the paper's proof, measured: candidate densities, martingale, Stosszahlansatz, initial slope."""
