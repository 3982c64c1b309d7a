"""A case file: what is refused, and in which words.

The load is carried by `test_a_wrong_key_is_named`: every kind of mistake at every level of a case gives an `InputError`
that names file, key and what is allowed.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import contextlib
import dataclasses
import itertools
import json
import re
import resource
import typing
from pathlib import Path

import pydantic
import pytest
from casefiles import from_python, read, without

from limitpde import case as cases
from limitpde import signed
from limitpde.checked import _records_in, explain
from limitpde.errors import InputError

HUGE = "1" + "0" * 30
WRONG_VALUES = [
    *(-1, 0, 1.5, 1e300, -1e300, 10**40, True, None, "", "x", "../a", "\x00", "é" * 300, float("nan"), float("inf")),
    *([], [0], [-1.0], ["x"], [[]], [{}], [None], [1, 2, 3, 4, 5], [float("nan")], [[1.0, 2.0], [3.0]]),
    *({}, {"": 0}, {"a b": 1.0}, {"shape": "x"}, {"shape": 3}, {"kind": "x"}, {"python": "x"}, {"python": 3}),
]
WRONG = [
    # unknown keys, with the nearest known one
    ("foo=1", "foo: unknown key"),
    ("model.gama_bar=1", "model.gama_bar: unknown key; did you mean gamma_bar?"),
    ("model.noise=0", "known: sigma, gamma_bar, gamma, interaction, confinement, diffusivity"),
    ("initial.posative=[]", "initial.posative: unknown key; did you mean positive?"),
    ("initial.positive.0.widht=1", "initial.positive[0].widht: unknown key; did you mean width?"),
    ("time.ende=1", "time.ende: unknown key; did you mean end?"),
    ("pde.mesh.celsize=1", "pde.mesh.celsize: unknown key; did you mean cell_size?"),
    ("particles.count=[1]", "particles.count: unknown key; did you mean counts?"),
    ("compare.test_functions.0.widht=1", "compare.test_functions[0].widht: unknown key; did you mean width?"),
    ("output.folder='x'", "output.folder: unknown key; known: directory, every, checkpoint_every"),
    # the system
    ("system='sined'", "system = 'sined': must be one of \"signed\""),
    ("system=['signed']", "system = ['signed']: must be one of \"signed\""),
    ("system={ a = 1 }", 'must be one of "signed"'),
    # wrong types
    ("seed=1.5", "seed = 1.5: must be an integer"),
    ("seed=true", "seed = True: must be an integer"),
    ("seed=1979-05-27", "dates and times have no place in a case"),
    ("model=3", "model = 3: must be a section"),
    ("model.sigma='1'", "model.sigma = '1': must be a number"),
    ("model.sigma=true", "model.sigma = True: must be a number"),
    ("initial.positive=1", "initial.positive = 1: must be a list"),
    ("initial.positive={ shape = 'gaussian' }", "must be a list"),
    ("initial.positive=[1]", "initial.positive[0] = 1: must be a section"),
    ("initial.positive.0.center=0", "initial.positive[0].center = 0: must be a list"),
    ("initial.positive.0.center=['a', 0]", "initial.positive[0].center[0] = 'a': must be a number"),
    ("initial.points=3", "initial.points = 3: must be a string"),
    ("time=1", "time = 1: must be a section"),
    ("time.end=1,5", "time.end = '1,5': must be a number"),
    ("pde=1", "pde = 1: must be a section"),
    ("pde.mesh=3", "pde.mesh = 3: must be a section"),
    ("particles=[]", "particles = []: must be a section"),
    ("particles.counts=8", "particles.counts = 8: must be a list"),
    ("particles.counts=[1.5]", "particles.counts[0] = 1.5: must be an integer"),
    ("particles.replicas=1.5", "particles.replicas = 1.5: must be an integer"),
    ("compare.test_functions=[1]", "compare.test_functions[0] = 1: must be a section"),
    ("compare.test_functions.1.charge=1", "compare.test_functions[1].charge = 1: must be a boolean"),
    ("output.directory=3", "output.directory = 3: must be a string"),
    # out of range
    ("seed=-1", "seed = -1: must be greater than or equal to 0"),
    (f"seed={2**63}", f"must be less than {2**63}"),
    ("model.sigma=-1", "model.sigma = -1: must be greater than or equal to 0"),
    ("model.sigma=nan", "model.sigma = nan: must be a finite number"),
    ("model.gamma_bar=-1", "model.gamma_bar = -1: must be greater than or equal to 0"),
    ("model.interaction='neutral'", "model.interaction = 'neutral': must be 'signed'"),
    ("model.diffusivity='x'", "model.diffusivity = 'x': must be 'ito' or 'paper'"),
    ("initial.positive.0.shape='gausian'", "initial.positive[0].shape = 'gausian': must be one of"),
    ("initial.positive.0.mass=0", "initial.positive[0].mass = 0: must be greater than 0"),
    ("initial.positive.0.width=-1", "initial.positive[0].width = -1: must be greater than 0"),
    ("initial.positive.0.center=[]", "initial.positive[0].center = []: must have at least 1 item"),
    ("initial.positive.0.center=[0, 0, 0]", "must have 2 coordinates"),
    ("time.end=0", "time.end = 0: must be greater than 0"),
    ("time.end=inf", "time.end = inf: must be a finite number"),
    ("pde.step=-1", "pde.step = -1: must be greater than 0"),
    ("pde.mesh.shape='square'", "pde.mesh.shape = 'square': must be"),
    ("pde.mesh.cell_size=9", "pde.mesh: cell_size = 9.0 must not exceed radius = 4.0"),
    ("pde.mesh.center=[0]", "pde.mesh.center"),
    ("pde.mesh='nope.msh'", "mesh = 'nope.msh': no such file"),
    ("pde.multipoles=1e40", "pde.multipoles = 1e+40: must be an integer"),
    ("pde.boundary={}", "pde.boundary = {}: must be 'plane', 'grounded' or 'insulated' or have at least 1 item"),
    ("compare.observables=[{ name = '../a' }]", "name = '../a': must be of letters, digits, blanks, - and _"),
    ("pde.multipoles=65", "pde.multipoles = 65: must be less than or equal to 64"),
    ("particles.counts=[]", "particles.counts = []: must have at least 1 item"),
    ("particles.counts=[0]", "particles.counts[0] = 0: must be greater than or equal to 1"),
    ("particles.counts=[8, 8]", "counts = [8, 8] must differ"),
    (f"particles.counts=[{HUGE}]", "particles.counts[0]"),
    ("particles.replicas=0", "particles.replicas = 0: must be greater than or equal to 1"),
    (f"particles.replicas={HUGE}", "particles.replicas"),
    ("particles.step=0", "particles.step = 0: must be greater than 0"),
    ("particles.method='exact'", "particles.method = 'exact': must be 'direct'"),
    ("particles.kernel='x'", "particles.kernel = 'x': must be 'capped' or 'regularised'"),
    ("particles.eps=-1", "particles.eps = -1: must be greater than or equal to 0"),
    ("particles.cutoff=0", "particles.cutoff = 0: must be greater than or equal to 1"),
    ("compare.test_functions=[]", "compare.test_functions = []: must have at least 1 item"),
    ("compare.test_functions.0.shape='x'", "compare.test_functions[0].shape = 'x': must be one of 'gaussian', 'wave'"),
    ("compare.test_functions.0.center=[0]", "compare.test_functions[0].center must have 2 entries, not 1"),
    ("compare.test_functions.1.k=[1, 2, 3]", "compare.test_functions[1].k must have 2 entries, not 3"),
    ("compare.test_functions.0.width=1e-200", "compare.test_functions[0].width"),
    ("compare.earlier=[0.2, 0.1]", "compare.earlier = [0.2, 0.1]: must rise, and end before time.end"),
    ("compare.earlier=[1e-13]", "compare.earlier = [1e-13]: must rise, and end before time.end"),
    ("output.every=0", "output.every = 0: must be greater than 0"),
    ("output.checkpoint_every=0", "output.checkpoint_every = 0: must be greater than 0"),
    # missing
    ("initial.positive=[{}]", "initial.positive[0].mass is missing"),
    ("pde.mesh={}", "pde.mesh.radius is missing"),
    ("compare={}", "compare.test_functions is missing"),
    ("compare.test_functions=[{}]", "compare.test_functions[0].shape is missing"),
    # what does not fit together
    ("model.gamma=0.1", "give either gamma_bar (mean-field scaling gamma = gamma_bar / N) or gamma, not both"),
    ("initial.positive.0.mass=0.4", "the masses add to 0.9; with [particles] they must add to 1"),
    ("initial.points='x.npz'", "give either points, or the parts of positive and negative, not both"),
    # Python
    (from_python("nope.py:good"), 'must be "file.py:function" with a file that exists'),
    (from_python("densities.py"), 'must be "file.py:function" with a file that exists'),
    (from_python("densities.py:missing"), "has no function missing"),
    (from_python("densities.py:value"), "has no function value"),
    (from_python("broken.py:f"), "SyntaxError"),
    (from_python("densities.py:divides"), "ZeroDivisionError: division by zero"),
    (from_python("densities.py:refuses"), "no luck"),
    (from_python("densities.py:own"), "mine"),
    (from_python("densities.py:nan"), ">= 0"),
    (from_python("densities.py:negative"), ">= 0"),
    (from_python("densities.py:flat"), "(2, 2)"),
    (from_python("densities.py:short"), "(1,)"),
    (from_python("densities.py:good", "width = 1.0"), "initial.positive[0].radius is missing"),
    (from_python("densities.py:good", "radius = 0"), "initial.positive[0].radius = 0: must be greater than 0"),
    (from_python("densities.py:good", "radius = 1, center = [9.0]"), "must have 2 coordinates"),
    ("model.sigma=1e200", "model.sigma = 1e+200: must be less than or equal to"),
    # --set itself
    ("nothing", "--set nothing: must be KEY=VALUE"),
    ("=1", "--set =1: must be KEY=VALUE"),
    ("a..b=1", "--set a..b=1: must be KEY=VALUE"),
    ("model.sigma.x=1", "--set model.sigma.x=1: the case has no such key to set"),
    ("initial.positive.7.mass=1", "--set initial.positive.7.mass=1: the case has no such key to set"),
    ("initial.positive.first=1", "--set initial.positive.first=1: the case has no such key to set"),
    ('output.directory="r', "--set output.directory=\"r: '\"r' must be a value as in TOML, or a bare word"),
    ("particles.counts=[4", "must be a value as in TOML"),
]


@pytest.mark.parametrize(("override", "fragment"), WRONG, ids=[override[:60] for override, _ in WRONG])
def test_a_wrong_key_is_named(folder, override, fragment):
    with pytest.raises(InputError) as caught:
        read(folder, override)
    message = str(caught.value)
    assert fragment in message
    assert message.startswith(("--set", str(folder / "case.toml")))
    assert len(message.splitlines()) == 1 or "is missing" in message


@pytest.fixture
def little_memory():
    """Room for another quarter of a GiB only: what asks for more fails instead of bringing down the machine."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 28), limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("overrides", [["output.every=1e-12"], ["output.every=1e-320"], ["time.end=1e308"]])
def test_too_many_outputs_are_refused_before_they_are_listed(folder, overrides):
    with pytest.raises(InputError, match=r"output\.every = "):
        read(folder, *overrides)


@pytest.mark.parametrize("end", [1e308, 1e-100])
def test_an_extreme_end(folder, end):
    case = read(folder, f"time.end={end}", f"output.every={end}")
    times = case.output_times
    assert times == [end]


def test_earlier_times_need_replicas(folder):
    """Refused, not left out of the result."""
    assert read(folder, "compare.earlier=[0.0]", "particles.replicas=2").fluctuation_times[0] == 0.0
    with pytest.raises(InputError, match=r"need \[particles\] with replicas >= 2"):
        read(folder, "compare.earlier=[0.0]", "particles.replicas=1")


def test_all_wrong_keys_are_named_at_once(folder):
    with pytest.raises(InputError) as caught:
        read(folder, "time.end=0", "model.sigma=-1", "foo=3")
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert all(any(key in line for line in lines) for key in ("time.end = 0", "model.sigma = -1", "foo: unknown key"))


def records(record, found):
    """The record, and those that its fields may be."""
    if record not in found:
        found.append(record)
        for annotation in typing.get_type_hints(record, include_extras=True).values():
            for _, inner in _records_in(annotation):
                records(inner, found)
    return found


def test_what_is_wrong_with_any_key_of_any_record_is_said_in_our_words():
    """Values of every type and size for each key, as a file and as Python give them; none in those of pydantic."""
    said, found = set(), []
    for system in cases.BUILT_IN:
        records(cases.record_of(system), found)
    for record in found:
        adapter = pydantic.TypeAdapter(record)
        some = itertools.batched([field.name for field in dataclasses.fields(record)], 4, strict=False)
        for keys, value in itertools.product(some, WRONG_VALUES):
            data = dict.fromkeys(keys, value)
            for check, given in ((adapter.validate_json, json.dumps(data)), (adapter.validate_python, data)):
                with contextlib.suppress(InputError):
                    try:
                        check(given)
                    except pydantic.ValidationError as error:
                        said |= set(explain(error, record, data, where="case").splitlines())
    assert len(said) > 1000
    assert [
        line for line in said if re.search(r"\b([A-Z]\w+ should|Unable|Unexpected|validation|: : |or : )", line)
    ] == []


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (b"", "system is missing"),
        (b"[model\n", "not a TOML file"),
        (b"\xff\xfe\x00", "not a TOML file"),
        (b"\x00\x01", "not a TOML file"),
        (b"system = 'signed'\nsystem = 'signed'\n", "not a TOML file"),
        (b"a = " + b"9" * 5000, "not a TOML file"),
        (b"a = " + b"[" * 5000 + b"]" * 5000, "not a TOML file"),
        (b"system = 'signed'\n", "model is missing"),
    ],
    ids=["empty", "syntax", "not utf-8", "binary", "twice", "number", "nested", "no sections"],
)
def test_a_file_that_is_no_case(tmp_path, content, fragment):
    path = tmp_path / "case.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=fragment) as caught:
        cases.read(path)
    assert str(caught.value).startswith(str(path))


def test_a_mark_of_the_order_of_bytes_is_no_mistake(folder):
    path = folder / "case.toml"
    wanted = cases.read(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert cases.read(path) == wanted


@pytest.mark.parametrize("data", [{"seed": "\udcff"}, {"\udcff": 1}, {"model": [{"x": "a\ud800b"}]}])
def test_text_that_is_none_is_refused(data):
    with pytest.raises(InputError, match="must be text that UTF-8 can hold") as caught:
        cases.check({"system": "signed"} | data)
    str(caught.value).encode()


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(InputError, match=r"nope\.toml: cannot be read \(No such file or directory\)"):
        cases.read(tmp_path / "nope.toml")
    with pytest.raises(InputError, match="cannot be read"):
        cases.read(tmp_path)


def test_fields_are_given_by_name():
    with pytest.raises(InputError, match=r"Model: 1\.0: must be given by the name of its field"):
        signed.Model(1.0)


@pytest.mark.parametrize("section", ["model", "initial", "time"])
def test_a_section_that_every_case_needs(tmp_path, section):
    (tmp_path / "case.toml").write_text(without(section))
    with pytest.raises(InputError, match=f"{section} is missing"):
        read(tmp_path)
