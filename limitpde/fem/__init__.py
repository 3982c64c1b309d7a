"""What the PDE solvers share: meshes, edge fluxes, Poisson in the plane, linear solvers, time steps, global sums."""
