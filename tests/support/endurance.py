"""How much a run bears: kills, damaged files, two runs in one folder, full disks, closed streams, mutated cases.

    python tests/support/endurance.py --many 40            everything, in about two hours on one core
    python tests/support/endurance.py --only kills --many 10 --seed 7

Each try is a small run of its own, and its figures and files are compared with those of a run that nobody disturbed.
At the end a table says how many were tried, had the same figures, were refused in one line with status 2, were lost (no
result, another status, or work that was done and had to be done again), mixed (other figures), raised a traceback, or
did not end. Status 1 where anything was lost, mixed, raised, or hung.

- kills: a run is disturbed, goes on with `--resume`, is disturbed again, and so on, each time on one, two or three
  ranks: by SIGKILL, SIGTERM or SIGINT to all or to one rank of several at any moment, or by its own death in a write, a
  sync or a renaming.
- damage: files of a stopped run are removed, emptied, cut or changed (`damage.py`).
- folder: a second run comes to a folder at any moment.
- disk: there is no room, on a small file system in memory where one may be mounted, or by a limit on the size of files;
  then the run goes on where there is some.
- streams: of a run are closed, or their readers go away.
- mutants: cases with keys and values changed at random that are cases still (`mutants.py`).
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import argparse
import collections
import json
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import zlib
from contextlib import suppress
from pathlib import Path

import damage
import hypothesis
import mutants
import numpy as np
from example_system import installed
from processes import COMMANDS

from limitpde import case as cases
from limitpde.errors import InputError

LIMIT = 180.0
"""Seconds after which a run hangs."""
DISTURBED = 2.5
"""Disturbances of a run until it comes to its end, on average."""
DIES = """
import os, signal, sys

left, sys.argv = int(sys.argv[1]), ["limitpde", *sys.argv[2:]]


def dying(call, before):
    def called(*arguments, **keywords):
        global left
        left -= 1
        if left == 0:
            before(*arguments)
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **keywords)

    return called


write = os.pwrite
os.pwrite = dying(write, lambda file, data, offset: write(file, bytes(data)[: len(data) // 2], offset))
for name in ("replace", "fsync", "unlink", "rmdir", "mkdir"):
    setattr(os, name, dying(getattr(os, name), lambda *arguments: None))
from limitpde.__main__ import main
try:
    main()
finally:
    print("calls left", left, file=sys.stderr)
"""
"""A program that is `limitpde`, but dies in the n-th call that changes the disk; of a write, half is done."""


class Bench:
    """A case of a system, its undisturbed result, and runs of it in processes of their own.

    Args:
        place: an empty folder.
        system: of the case.
    """

    def __init__(self, place: Path, system: str) -> None:
        self.place, self.system = place, system
        place.mkdir()
        (place / "installed").mkdir()
        path = installed(place / "installed")  # a system in a package of its own
        sys.path += path.split(os.pathsep)
        path = os.pathsep.join([path, os.environ.get("PYTHONPATH", "")])
        self.environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}
        self.environment["MPIR_CVAR_ENABLE_HEAVY_YIELD"] = "1"  # ranks that wait give way to those that work
        (place / "case.toml").write_text(cases.dump(cases.check(damage.CASES[system])))
        (place / "dies.py").write_text(DIES)
        assert self.end(self.start("whole", ranks=1), limit=10 * LIMIT)[0] == 0  # the first one compiles
        began = time.monotonic()
        process = self.start("again", ranks=1)
        self.begins = self._until(process, place / "again" / "summary.json") - began
        assert self.end(process)[0] == 0
        self.seconds = time.monotonic() - began
        process = self.start("calls", ranks=1, dies=10**9)
        code, err = self.end(process)
        self.calls = 10**9 - int(err.rpartition("calls left ")[2])
        assert (code, damage.differences(place / "again", place / "whole")) == (0, [])

    def start(self, out, *more, ranks, dies=0, before=None):
        """A run on its way into a folder, in a session of its own."""
        program = [sys.executable, "dies.py", str(dies)] if dies else [sys.executable, "-m", "limitpde"]
        launcher = [str(COMMANDS / "mpiexec"), "-n", str(ranks)] if ranks > 1 else []
        line = [*launcher, *program, "run", "case.toml", "--quiet", "--out", str(out), *more]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        options = {"cwd": self.place, "env": self.environment, "text": True, "start_new_session": True}
        return subprocess.Popen(line, preexec_fn=before, **pipes, **options)

    def end(self, process, limit=LIMIT):
        """Wait for a process: exit status and stderr; the status is None for one that does not end."""
        try:
            _, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None, process.communicate()[1]
        return process.returncode, err

    def run(self, out, *more, ranks=1):
        """Run to the end: what became of it, compared with the undisturbed result."""
        return self.judge(out, *self.end(self.start(out, *more, ranks=ranks)))

    def judge(self, out, code, err):
        """What became of a run that should have come to its end: a word, and why."""
        if code is None:
            return "hang", err
        if "Traceback" in err:
            return "traceback", err
        if code == 2 and sum("limitpde: " in line for line in err.splitlines()) == 1:
            return "refused", err
        if code != 0:
            return "lost", f"status {code}: {err}"
        notes = json.loads((self.place / out / "summary.json").read_text()).get("warnings", [])
        if any(note.startswith("damaged since it was written") for note in notes):
            return "lost", str(notes)
        different = damage.differences(self.place / out, self.place / "whole") if out != "whole" else []
        return ("mixed", f"{different} differ") if different else ("same", "")

    def _until(self, process, path):
        while not path.exists() and process.poll() is None:
            time.sleep(0.005)
        return time.monotonic()


def ranks_below(process):
    """Numbers of the processes of `limitpde` that a process has started, itself among them."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):  # it has ended
            continue
    below = {process.pid}
    while new := {child for child, parent in parents.items() if parent in below} - below:
        below |= new
    lines = {pid: _line(pid) for pid in below}
    return sorted(pid for pid, line in lines.items() if b"case.toml" in line and b"mpiexec" not in line.split(b"\0")[0])


def _line(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def disturb(bench, out, random, *more):
    """Start a run and disturb it: what was done, and what is wrong with how it ended, if anything."""
    ranks = int(random.choice([1, 1, 1, 2, 2, 3]))
    if random.random() < 0.4:
        last = int(random.integers(1, bench.calls + 1))
        process = bench.start(out, *more, ranks=ranks, dies=last)
        what = f"dies in call {last}, {ranks} ranks"
    else:
        process = bench.start(out, *more, ranks=ranks)
        number = random.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        one = ranks > 1 and (number == signal.SIGKILL or random.random() < 0.5)
        bench._until(process, bench.place / out / ".lock")
        seconds = random.uniform(-0.2, bench.seconds - bench.begins)
        time.sleep(max(seconds, 0.0))
        what = f"{signal.Signals(number).name} after {seconds:.2f} s, {'one of ' if one else ''}{ranks} ranks"
        found = ranks_below(process) if one else []
        with suppress(ProcessLookupError):  # it has ended before
            os.kill(int(random.choice(found)) if found else process.pid, int(number))
    code, err = bench.end(process)
    wrong = "hang" if code is None else "traceback" if "Traceback" in err else ""
    return what, (wrong, err) if wrong else None


def kills(bench, many, random):
    """Runs that are disturbed until they come to their end."""
    for _ in range(many):
        said, wrong, more = [], None, []
        while wrong is None and (not said or random.random() < 1 - 1 / DISTURBED):
            what, wrong = disturb(bench, "r", random, *more)
            said.append(what)
            more = ["--resume"]
        ranks = int(random.choice([1, 1, 2, 3]))
        yield "; ".join(said) + f"; on {ranks}", wrong or bench.run("r", "--resume", ranks=ranks), len(said)
        shutil.rmtree(bench.place / "r", ignore_errors=True)


def damages(bench, many, random):
    """Files of stopped runs that are damaged."""
    root = bench.place / "damage"
    root.mkdir()
    for what, result in damage.tries(root, many, random, bench.system):
        word, _, why = result.partition(": ")
        yield what, (word, why), 1


def folder(bench, many, random):
    """A second run that comes to a folder at any moment: it is refused, or the first one has come to its end."""
    for _ in range(many):
        first = bench.start("r", ranks=int(random.choice([1, 2])))
        seconds = random.uniform(0.0, bench.seconds)
        time.sleep(seconds)
        more = ["--resume"] if random.random() < 0.5 else []
        word, why = bench.run("r", *more, ranks=int(random.choice([1, 2])))
        one, other = bench.judge("r", *bench.end(first)), (word, why)
        worst = max((one, other), key=lambda result: ("same", "refused").index(result[0]) if result[0] in GOOD else 9)
        if one[0] == other[0] == "refused":
            worst = ("lost", f"both were refused: {one[1]} {why}")
        yield f"the second after {seconds:.2f} s {more}", worst, 1
        shutil.rmtree(bench.place / "r", ignore_errors=True)


def disk(bench, many, random):
    """A disk that is full: the run fails in one line, and goes on when there is room."""
    size = sum(path.stat().st_size for path in (bench.place / "whole").rglob("*") if path.is_file())
    for _ in range(many):
        room = int(np.exp(random.uniform(np.log(2e3), np.log(size))))
        (bench.place / "small").mkdir(exist_ok=True)
        mounted = _quiet("mount", "-t", "tmpfs", "-o", f"size={room}", "limitpde", "small", cwd=bench.place) == 0
        try:
            out = "small/r" if mounted else "r"
            limited = None if mounted else lambda room=room: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
            process = bench.start(out, ranks=int(random.choice([1, 2])), before=limited)
            code, err = bench.end(process)
            if mounted and (bench.place / out).exists():
                shutil.copytree(bench.place / out, bench.place / "r")
        finally:
            if mounted:
                _quiet("umount", "small", cwd=bench.place)
        what = f"{room} bytes {'of a file system' if mounted else 'for a file'}, status {code}"
        if code in (2, 3) and "Traceback" not in err and sum("limitpde: " in line for line in err.splitlines()) == 1:
            yield what, bench.run("r", "--resume"), 1
        else:
            word, why = bench.judge("r", code, err)
            yield what, ("lost" if word == "refused" else word, why), 1
        shutil.rmtree(bench.place / "r", ignore_errors=True)


def _quiet(*line, cwd):
    try:
        return subprocess.run(line, cwd=cwd, capture_output=True, check=False).returncode
    except FileNotFoundError:
        return 1


STREAMS = (">&-", "2>&-", "<&-", "<&- >&- 2>&-", "2>&1 | true", "2>&1 | head -c 1", "> /dev/full", "2>&1 >&- | true")


def streams(bench, many, random):
    """Streams that are closed, or whose readers go away: of the run, of each of two ranks, or of what starts them.

    MPICH's mpiexec ends, and ends its ranks, where it cannot pass on what they print: then the run goes on.
    """
    for _ in range(many):
        whose, end = str(random.choice(["run", "ranks", "mpiexec"])), str(random.choice(STREAMS))
        line = shlex.join([sys.executable, "-m", "limitpde", "run", "case.toml", "--out", "r"])
        script = f"set -o pipefail; {line} {end}"
        if whose != "run":
            launcher = shlex.join([str(COMMANDS / "mpiexec"), "-n", "2"])
            each = f"bash -c {shlex.quote(script)}" if whose == "ranks" else f"{line} {end}"
            script = f"set -o pipefail; {launcher} {each}"
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "start_new_session": True}
        process = subprocess.Popen(["bash", "-c", script], cwd=bench.place, env=bench.environment, text=True, **pipes)
        code, err = bench.end(process)
        summary = bench.place / "r" / "summary.json"
        done = summary.exists() and json.loads(summary.read_text())["status"] == "done"
        if whose == "mpiexec" and code in (255, -signal.SIGPIPE, 128 + signal.SIGPIPE):  # it ended and took the ranks
            yield f"{end} of mpiexec, which ended", bench.run("r", "--resume", ranks=2), 1
        else:
            full = end == "> /dev/full" and code == 3 and "No space left" in err  # the closing line alone is lost
            yield f"{end} of {whose}", bench.judge("r", 0 if full and done else code, err), 1
        shutil.rmtree(bench.place / "r", ignore_errors=True)


def mutated(bench, many, random):
    """Cases with changes that are cases still: done or failed with figures that are finite and masses as asked."""
    found = []

    @hypothesis.seed(int(random.integers(2**31)))
    @hypothesis.settings(mutants.SETTINGS, max_examples=8 * many, phases=[hypothesis.Phase.generate])
    @hypothesis.given(mutants.small_mutants(bench.system))
    def draw(data):
        try:
            case = cases.check(data) if len(found) < many else None
        except InputError:
            return
        if case is not None and case not in found and mutants.affordable(case):
            found.append(case)

    draw()
    signal.signal(signal.SIGALRM, _hangs)
    for case in found:
        signal.alarm(int(LIMIT))
        try:
            word, _, why = mutants.run_small(case).partition(": ")
            word = word if word == "refused" else "same"
        except TimeoutError as error:
            word, why = "hang", f"{''.join(traceback.format_exception(error))}\n{cases.dump(case)}"
        except Exception as error:
            word, why = "traceback", f"{''.join(traceback.format_exception(error))}\n{cases.dump(case)}"
        finally:
            signal.alarm(0)
        yield why[:200], (word, why), 1


def _hangs(number, frame):
    raise TimeoutError(f"more than {LIMIT} s")


KINDS = {"kills": kills, "damage": damages, "folder": folder, "disk": disk, "streams": streams, "mutants": mutated}
GOOD = ("same", "refused")
BAD = ("lost", "mixed", "traceback", "hang")


def tally(kinds, systems, many, seed, root):
    """Try everything: kind, system -> how often each thing happened."""
    table = {}
    for system in systems:
        bench = None
        for kind in kinds:
            if kind == "mutants" and system not in mutants.SMALL:
                continue
            bench = bench or Bench(root / system, system)
            count = table[kind, system] = collections.Counter()
            random = np.random.default_rng([seed, zlib.crc32(f"{kind} {system}".encode())])
            for number, (what, (word, why), disturbances) in enumerate(KINDS[kind](bench, many, random)):
                count.update({"tried": 1, "disturbed": disturbances, word: 1})
                if number % 10 == 9:
                    print(f"{kind}, {system}: {dict(count)}", flush=True)
                if word != "same":
                    print(f"{kind}, {system}, {number}: {what}: {word}: {why.strip()}", flush=True)
            print(f"{kind}, {system}: {dict(count)}", flush=True)
    return table


def main():
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--many", type=int, default=40, help="tries of each kind and system")
    parser.add_argument("--only", choices=sorted(KINDS), action="append", help="kinds to try")
    parser.add_argument("--system", choices=sorted(damage.CASES), action="append")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    os.nice(10)
    with tempfile.TemporaryDirectory() as place:
        kinds, systems = given.only or list(KINDS), given.system or list(damage.CASES)
        table = tally(kinds, systems, given.many, given.seed, Path(place))
    columns = ("tried", "disturbed", *GOOD, *BAD)
    print(f"\n| kind | system | {' | '.join(columns)} |\n|---|---|{'---|' * len(columns)}")
    for (kind, system), count in table.items():
        print(f"| {kind} | {system} | {' | '.join(str(count[column]) for column in columns)} |")
    return 1 if any(count[word] for count in table.values() for word in BAD) else 0


if __name__ == "__main__":
    sys.exit(main())
