"""Verdicts of runs, through the command's own way: right models are not refuted, wrong ones are, and why there is none.

`demos/calibration.py` has the same over many seeds.
"""

import pytest

import limitpde

SIGNED = """
system = "signed"
model = { sigma = 0.8, gamma_bar = 0.3 }
initial.positive = [{ shape = "gaussian", mass = 0.5, center = [-0.6, 0.0], width = 0.5 }]
initial.negative = [{ shape = "gaussian", mass = 0.5, center = [0.6, 0.0], width = 0.5 }]
time.end = 0.4
pde = { mesh = { shape = "disk", radius = 5.0, cell_size = 0.2 }, step = 0.02 }
particles = { counts = [64, 256], replicas = 32, step = 0.02 }
compare.precision = 0.1
compare.test_functions = [{ shape = "gaussian", center = [0.0, 0.0], width = 0.8 }]
output = { every = 0.2, pictures = false }
"""
VLASOV = """
system = "vlasov"
model.dimension = 1
model.potential = { kind = "cosine", strength = 1.0 }
model.domain = { x = [0.0, 6.283185307179586], v = [-6.0, 6.0], periodic = true }
initial = { shape = "landau", k = 1.0, amplitude = 0.5, thermal = 0.7 }
time.end = 2.0
pde = { cells = [16, 32], step = 0.1 }
particles = { counts = [1000, 4000], replicas = 16, step = 0.1 }
compare.test_functions = [{ shape = "wave", k = [1.0, 0.0] }]
compare.precision = 0.05
output = { every = 1.0, pictures = false }
"""
COAGULATION = """
system = "coagulation"
model = { dimension = 3, diffusion = [0.1], interaction = { shape = "ball", radius = 1.0, alpha = 1.0 }, n_max = 40 }
initial.masses = [{ n = 1, shape = "uniform", mass = 1.0 }]
time.end = 1.0
pde = { mesh = { shape = "point" }, step = 0.02 }
particles = { counts = [60, 240], replicas = 24, domain = "torus" }
compare.test_functions = [{ shape = "wave", k = [0.0, 0.0, 0.0], n = 1 }]
compare.precision = 0.1
output = { every = 0.5, pictures = false }
"""


@pytest.fixture
def run(tmp_path, comm):
    """Run a case given as text, with changes."""

    def go(text, *changes):
        folder = comm.bcast(str(tmp_path))
        path = f"{folder}/case.toml"
        if comm.rank == 0:
            with open(path, "w") as file:
                file.write(text)
        comm.barrier()
        return limitpde.run(path, out=f"{folder}/result", overrides=changes, comm=comm)

    return go


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(SIGNED, id="signed", marks=pytest.mark.ranks),
        pytest.param(COAGULATION, id="coagulation", marks=pytest.mark.ranks),
        pytest.param(VLASOV, id="vlasov"),  # which takes long; tests/vlasov/test_runs.py runs on ranks
    ],
)
def test_a_right_model_is_confirmed(run, text, tmp_path, comm):
    found = run(text)
    verdict, row = found["verdict"], found["compare"]["limits"][0]
    assert verdict["status"] == "confirmed", verdict
    assert 0 < verdict["detectable"] < verdict["precision"]
    assert row["low"] < row["particles"] < row["high"]
    assert abs(row["difference"]) < row["detectable"]
    error = found["pde"]["error"][0]
    assert error["total"] == pytest.approx(sum(error.get(name, 0.0) for name in ("mesh", "step", "initial", "domain")))
    assert found["wall_seconds"]["budget"] > 0
    if comm.rank == 0:
        first = (tmp_path / "result" / "report.md").read_text().splitlines()[0]
        assert first.startswith("**Confirmed to ")


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        (SIGNED, ["model.diffusivity=paper", "particles.replicas=96"]),
        (VLASOV, ['particles.potential={ kind = "cosine", strength = -1.0 }']),
        (VLASOV, ['particles.potential={ kind = "cosine", strength = 1.5 }', "particles.counts=[2000, 8000]"]),
        (COAGULATION, ['model.beta={ kernel = "constant", scale = 4.18879 }', "particles.replicas=96"]),
    ],
    ids=["diffusivity", "sign", "potential", "naive beta"],
)
def test_a_wrong_model_is_refuted(run, text, changes):
    verdict = run(text, *changes)["verdict"]
    assert verdict["status"] == "refuted", verdict
    assert verdict["sentence"].startswith("Refuted: ")


def test_a_case_outside_the_theorem_says_so_first(run):
    found = run(SIGNED, "model.gamma_bar=0.4", "particles.replicas=2")
    assert found["verdict"]["sentence"].startswith("Outside the theorem's assumptions (model.gamma_bar = 0.4: ")
    assert "sigma^2 / 2 = 0.32" in found["verdict"]["outside_theory"]
    assert not any(entry["in_theory"] for entry in found["compare"]["residual"])


def test_without_what_it_takes_there_is_no_verdict_that_means_anything(run):
    """No estimates, one replica, no room for a companion: undecided, with the reason; an equation alone: none."""
    found = run(VLASOV, "compare.budget=false")
    assert found["verdict"]["status"] == "undecided"
    assert "compare.budget = true" in found["verdict"]["causes"][0]
    assert "error" not in found["pde"]
    assert run(VLASOV, "particles.replicas=1")["verdict"]["status"] == "undecided"
    causes = run(VLASOV, "pde.step=2.0")["verdict"]["causes"]
    assert any(cause.startswith("step: two steps do not fit into the time") for cause in causes), causes
    found = run(VLASOV, "pde.cells=[8, 8]", "pde.degree=1")["verdict"]  # as few cells as there may be of a companion
    assert found["status"] == "undecided", found
    assert any(cause.startswith("mesh: no coarser companion") for cause in found["causes"]), found
    alone = VLASOV.replace("particles = { counts = [1000, 4000], replicas = 16, step = 0.1 }\n", "")
    assert "verdict" not in run(alone)


LONELY = ["initial.negative=[]", "initial.positive.0.mass=1.0", "pde.mesh.radius=7.0", "particles.replicas=48"]


def test_particles_whose_strengths_do_not_lead_to_the_equation(run):
    """Refuted where that shows, never confirmed where it does not: N gamma_N grows, or tends to another gamma_bar."""
    grows = run(SIGNED, *LONELY, "particles.gamma={ coefficient = 0.3, power = -0.5 }", "particles.step=0.005")
    assert grows["verdict"]["status"] == "refuted", grows["verdict"]
    assert "N gamma_N grows like N^0.5" in grows["verdict"]["outside_theory"]
    other = run(SIGNED, *LONELY, "particles.gamma={ coefficient = 0.6, power = -1 }")
    assert other["verdict"]["status"] == "refuted", other["verdict"]
    near = run(SIGNED, *LONELY, "particles.gamma={ coefficient = 0.301, power = -1 }")
    assert near["verdict"]["status"] == "undecided", near["verdict"]
    assert "but there is one: particles.gamma: N gamma_N tends to 0.301" in near["verdict"]["sentence"]


def test_slow_strengths_are_not_blamed_on_the_limit(run):
    """N gamma_N = N^(-1/4) tends to gamma_bar = 0, and noise that falls like N^(-1/4) to (1.5): W by Lemma 5.10."""
    slow = run(
        SIGNED, *LONELY, "model.gamma_bar=0.0", "particles.gamma={ coefficient = 1.0, power = -1.25 }",
        "particles.counts=[64, 256, 1024]",
    )  # fmt: skip
    assert slow["verdict"]["status"] != "refuted", slow["verdict"]
    assert "outside_theory" not in slow["verdict"]
    row = slow["compare"]["limits"][0]
    assert row["low"] < row["solution"] + row["solution_error"]
    assert row["solution"] - row["solution_error"] < row["high"]
    for entry in slow["compare"]["residual"]:
        assert entry["in_theory"]
        assert entry["theory_mean"] != 0
        assert abs(entry["mean_deviation"]) < 4.5
    assert {rate.get("theory") for rate in slow["compare"]["rates"]} <= {None, -0.25}
    quiet = run(SIGNED, "model.sigma=0.0", "particles.sigma={ coefficient = 0.8, power = -0.25 }")
    assert quiet["verdict"]["status"] != "refuted", quiet["verdict"]
    assert "(1.5)" in quiet["verdict"]["outside_theory"]


def test_particles_alone_are_judged_by_their_own_balance(run):
    text = SIGNED.replace('pde = { mesh = { shape = "disk", radius = 5.0, cell_size = 0.2 }, step = 0.02 }\n', "")
    verdict = run(text, "particles.replicas=96", "compare.precision=0.2")["verdict"]
    assert verdict["status"] == "confirmed", verdict
    assert "their own balance" in verdict["sentence"]
