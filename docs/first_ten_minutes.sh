#!/usr/bin/env bash
# The first ten minutes of a new user, from a clean clone to a case of their own, with the time at each step, as Markdown:
#   docs/first_ten_minutes.sh REPOSITORY > docs/first_ten_minutes.md
# Everything compiled is put into a fresh cache, as on a machine that has never seen limitpde.
set -euo pipefail
source=$(realpath "$1")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export XDG_CACHE_HOME=$folder/cache NUMBA_CACHE_DIR=$folder/cache/numba MPLCONFIGDIR=$folder/cache/matplotlib
cd "$folder"
start=$SECONDS

step() { # a command as the user types it; what it prints, without progress bars and pip's notes; the time
  echo; echo '```sh'; echo "\$ ${1//$source/REPOSITORY}"
  bash -c "set -o pipefail; $1" 2>&1 | tr '\r' '\n' | grep -v -e 'it/s\]' -e '|.*\[[0-9]' -e WARNING -e '^ *$' | tail -n "${2:-6}" || true
  echo '```'; echo; printf '*%d:%02d*\n' $(((SECONDS - start) / 60)) $(((SECONDS - start) % 60))
}

echo '# The first ten minutes'
echo
echo "On $(nproc) cores, with nothing compiled before. Made by docs/first_ten_minutes.sh; the times are minutes and seconds since the start."
step "git clone -q $source limitpde && cd limitpde && ls | head -4 | tr '\n' ' '"
cd limitpde
step "make demo" 6
step "sed -n '5,16p' results/signed_dipole/report.md | cut -c1-150" 12
export PATH=$PWD/.venv/bin:$PATH
step "limitpde new vlasov > case.toml && grep -v '^#' case.toml | head -12" 12
step "limitpde run case.toml" 2
step "limitpde run case.toml --set model.potential.strngth=2" 2
step "limitpde run case.toml --set model.potential.strength=2.0 initial.amplitude=0.2 --out results/stronger" 2
step "grep -e 'rate of the field' -e 'energy' results/stronger/report.md | head -3" 3
step "mpiexec -n 2 limitpde run case.toml --out results/two_ranks --quiet && python -c \"
import json
one, two = (json.load(open(f'results/{name}/summary.json')) for name in ('case', 'two_ranks'))
print(one['pde']['field_growth_rate'], two['pde']['field_growth_rate'])\"" 2
step "ls results/case results/case/pictures" 24
echo
echo '## An interaction of your own'
step "cat > mine.py << END
def attraction(x):  # W and its gradient at points (n, 2)
    return 0.1 * (x**2).sum(axis=1), 0.2 * x
END
limitpde new meanfield > mine.toml
limitpde run mine.toml --set 'model.interaction={ python = \"mine.py:attraction\" }'" 2
echo
echo '## A mesh of your own, on two ranks'
step "limitpde new signed > charges.toml
mpiexec -n 2 limitpde run charges.toml --set 'pde.mesh=\"meshes/disk.msh\"' --out results/disk" 2
echo
echo '## A published figure: Landau damping'
step "python demos/vlasov_landau.py --quick | grep reference" 7
