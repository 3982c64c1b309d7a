"""What the PDE solvers share: meshes, nodes, edge and heat flows, Poisson in the plane, linear solvers, steps, sums."""
