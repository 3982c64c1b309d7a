"""Noisy Kuramoto oscillators d theta_i = (coupling / N) sum_j sin(theta_j - theta_i) dt + sigma dB_i and their limit.

The limit is the nonlinear Fokker-Planck equation d_t rho = D rho'' - (rho F)' on the circle, D = sigma^2 / 2, with
F(theta) = coupling r sin(psi - theta), r e^(i psi) = int e^(i theta) rho. Stationary densities are those of von Mises,
rho ~ exp(coupling r cos(theta - psi) / D), with r = I_1(coupling r / D) / I_0(coupling r / D): only r = 0 for
coupling <= 2 D. (Kuramoto 1975; Dai Pra and den Hollander 1996; Bertini, Giacomin, Pakdaman 2010.)
"""
