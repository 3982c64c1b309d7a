"""Claim: alpha of the Hamiltonian Vlasov equation (HVl) has |alpha|^2 = f, and its phase is what conserves H_VL.

alpha_0 = sqrt(f_0) e^{iS} with f_0 = M(v) (1 + 0.3 cos(x/2)), S = 0.2 v^2 + 0.3 v sin(x/2), and a Gaussian potential.
Whatever S is, |alpha|^2 follows the Vlasov equation (Vl), to the error of the discretisation; so does the Hartree form
(HHt), which works with the Fourier transform of alpha in v. H_VL, which the phase enters, is conserved to the order of
the splitting. Without the last term of (HVl), a rotation of alpha by a phase that depends on x, |alpha|^2 is the same,
but H_VL is not conserved at any step. The W^{1,2} norm stays below the bound of Corollary 3.6.

Run: mpiexec -n 2 python -m mpi4py demos/vlasov_alpha.py   (half a minute)
"""

import sys

import numpy as np
from mpi4py import MPI

from limitpde.vlasov import Landau, Model, Solver
from limitpde.vlasov.hamiltonian import Hvl
from limitpde.vlasov.initial import Start

QUICK = "--quick" in sys.argv
END, L = 2.0 if QUICK else 5.0, 4 * np.pi
INITIAL = {"k": 0.5, "amplitude": 0.3, "mass": L, "phase": {"python": f"{__file__}:phase"}}
NAMES = {"density": "energy", "hamiltonian": "h_vl", "hartree": "h_ht"}
comm = MPI.COMM_WORLD


def phase(z):
    """S(x, v), (n, 2) -> (n,)."""
    x, v = z.T
    return 0.2 * v**2 + 0.3 * v * np.sin(x / 2)


def solve(form, step, *, with_phase=True):
    """f at the end (on rank 0), the largest change of the form's energy, and the largest norm over its bound."""
    potential = {"kind": "gaussian", "strength": 1.0, "width": 1.0}
    model = Model(potential=potential, domain={"x": (0.0, L), "v": (-8.0, 8.0)}, form=form)
    initial = Landau(**INITIAL)
    solver = Solver(model, initial, cells=(16, 48), degree=5, step=step, order=2)
    if not with_phase:
        solver.form = Hvl(model, Start(initial, model), solver.space, solver.field, phase=False)
    rows = [solver.figures()]
    solver.solve(END, observers=[lambda report: rows.append(report.figures)])
    energies = np.array([row[NAMES[form]] for row in rows])
    bounds = [row["norm_w12"] / row["norm_w12_bound"] for row in rows if "norm_w12_bound" in row]
    return solver.form.density_values(), np.abs(energies - energies[0]).max(), max(bounds, default=0.0)


def main():
    """Measure, print, assert."""
    drifts = []
    for step in (0.1, 0.05):
        f, _, _ = solve("density", step)
        squared, drift, share = solve("hamiltonian", step)
        dropped, drift_without, _ = solve("hamiltonian", step, with_phase=False)
        drifts.append(drift)
        if comm.rank == 0:
            error, other = np.abs(squared - f).max(), np.abs(dropped - f).max()
            print(f"step {step}: | |alpha|^2 - f | <= {error:.1e}, without the phase {other:.1e}")
            print(f"          H_VL changes by {drift:.2e}, without the phase by {drift_without:.2e}")
            print(f"          W^(1,2) norm at most {share:.3f} of the bound of Corollary 3.6")
            assert error < 1e-5, "|alpha|^2 does not follow (Vl)"
            assert other < 1e-5, "the phase has an effect on |alpha|^2"
        assert drift_without > 20 * drift, "H_VL does not see that the phase is missing"
        assert share <= 1, "the norm exceeds its bound"
    assert abs(np.log2(drifts[0] / drifts[1]) - 2) < 0.2, f"H_VL is not of order two in the step: {drifts}"

    _, drift, _ = solve("hartree", 0.05)
    if comm.rank == 0:
        print(f"(HHt), step 0.05: H_Ht changes by {drift:.2e}")
    assert abs(drift / drifts[1] - 1) < 0.01, "H_Ht is not H_VL"


if __name__ == "__main__":  # the file is also where alpha takes its phase from
    main()
