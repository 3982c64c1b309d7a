"""Forces F = -grad Gamma * rho - grad U of (Vl) on a tensor grid, by what suits Gamma.

    torus          gaussian, softened, cosine    their Fourier modes (`trigonometric`)
                   poisson                       finite elements (`poisson`), d = 1: antiderivatives (`sheets`)
                   python                        cyclic convolution (`convolution`)
    whole space    gaussian                      a product over the coordinates (`closed`)
                   cosine                        its modes (`trigonometric`)
                   softened, python              convolution by FFT over cells (`convolution`)
                   poisson, d = 1                antiderivatives (`sheets`)
                   harmonic                      moments (`closed`)

All but the two for poisson are, up to rounding, the sum over the Gauss points y of f with their weights w,

    (Gamma * rho)(x) = sum_y w_y Gamma(x - y) rho(y),

which is exact for int phi rho dx with phi of degree k + 1 in each cell. In all of them the matrix of the force is
antisymmetric in the scalar product of that quadrature, so that int rho F dx = 0 to rounding: momentum is conserved.

Positions, and the modes or frequencies of each axis, are shared out among all ranks (`share`): no rank has the field of
all positions, and none stores more than some numbers for each of its own.
"""

from limitpde.vlasov.fields.field import Field, make_field

__all__ = ["Field", "make_field"]
