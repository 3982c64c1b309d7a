"""What the simulators share: random numbers from counters, direct pair sums, threads.

Importing it shortens the time for which an idle OpenMP thread spins (GNU's default: milliseconds) unless the user's
environment already says how to wait: on a machine that also ran something else, spinning made small pair sums a
hundred times slower. The setting counts only where it comes before libgomp is loaded, that is, before numba's first threaded call.
"""

import os

if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
