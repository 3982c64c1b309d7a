"""Small cases that run in a second: particles of the signed system alone, and the homogeneous coagulating system."""

from __future__ import annotations

CHARGES = """
system = "signed"
seed = 1
[model]
sigma = 1.0
gamma_bar = 0.2
[initial]
positive = [{ shape = "gaussian", mass = 0.5, center = [-1.0, 0.0], width = 0.6 }]
negative = [{ shape = "gaussian", mass = 0.5, center = [1.0, 0.0], width = 0.6 }]
[time]
end = 0.1
[particles]
counts = [8, 16]
replicas = 8
step = 0.02
[compare]
test_functions = [{ shape = "gaussian", center = [0.0, 0.0], width = 1.0 }]
[output]
every = 0.05
pictures = false
"""
POINT = """
system = "coagulation"
[model]
diffusion = [0.1]
interaction = { shape = "ball", alpha = 20.0 }
n_max = 4
[initial]
masses = [{ n = 1, shape = "uniform", mass = 1.0 }]
[time]
end = 0.05
[pde]
mesh = { shape = "point" }
step = 0.01
"""
