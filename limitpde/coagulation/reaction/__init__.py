"""The collision operator of the limit at a node: coagulation, annihilation, fragmentation, on integers or bins."""
