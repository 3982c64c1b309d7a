"""The command line. Each command loads what it needs, so that the others start at once."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Container
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click
from mpi4py import MPI

from limitpde import case as cases
from limitpde import launch, needs
from limitpde.errors import InputError, LimitPDEError, is_out_of_memory
from limitpde.parallel import all_arrive, on_root
from limitpde.version import __version__

EXIT = {"done": 0, "failed": 3, "interrupted": 130}
WRONG_INPUT = 2
comm = MPI.COMM_WORLD


def say(text: str, *, error: bool = False) -> None:
    """Print once, whatever the number of ranks."""
    if comm.rank == 0:
        click.echo(text, err=error)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Many-particle systems and their limit PDEs: solve, simulate, and measure how far apart they are.

    Run `mpiexec -n P limitpde run ...` for the same results on P ranks.
    """


CASE = click.argument("case", type=click.Path(path_type=Path))
SET = click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE ...", help="Override keys of the case.")
MORE = click.argument("more", nargs=-1, metavar="")


OUT = click.option("--out", type=click.Path(path_type=Path), help="Folder of the result (default: the case's own).")
QUICK = click.option("--quick", is_flag=True, help="A smaller run of the same case, for a first look, in FOLDER_quick.")
VERBOSE = click.option(
    "-v", "--verbose", count=True, help="Say on stderr what goes on; -vv: each step of the equation."
)
LIMIT = click.option(
    "--limit-hours",
    type=click.FloatRange(min=0, min_open=True),
    default=needs.HOURS,
    show_default=True,
    help="Refuse what would take longer by the estimate.",
)


def _overrides(first: tuple[str, ...], more: tuple[str, ...]) -> list[str]:
    """The values of --set: one each, or several after one --set."""
    for word in more:
        if not first or "=" not in word:
            raise click.UsageError(f"unexpected argument {word!r}")
    return [*first, *more]


def _log(verbose: int) -> None:
    """Let the logger of the package write to stderr, where that is asked for."""
    if verbose:
        logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s: %(message)s")
        logging.getLogger("limitpde").setLevel(logging.INFO if verbose == 1 else logging.DEBUG)


def _check_launch() -> None:
    """Notice processes that were to share one run but know nothing of each other, and would each do all of it."""
    if comm.size > 1 or launch.size() <= 1:
        return
    if launch.rank() > 0:  # the first one speaks for all
        sys.exit(WRONG_INPUT)
    raise InputError(
        f"{launch.size()} processes were started together, but each is alone (MPI sees one rank): the launcher and the "
        "MPI of this Python do not match. Start with that MPI's own mpiexec, or with srun --mpi=pmi2 or --mpi=pmix; "
        "for one process within a larger job: srun -n 1"
    )


@cli.command()
@CASE
@MORE
@SET
@OUT
@LIMIT
@click.option("--resume", is_flag=True, help="Go on from what an earlier run of this case has left in that folder.")
@QUICK
@click.option("--quiet", is_flag=True, help="No progress bars and no closing line.")
@VERBOSE
def run(
    case: Path,
    more: tuple[str, ...],
    overrides: tuple[str, ...],
    out: Path | None,
    limit_hours: float,
    resume: bool,
    quick: bool,
    quiet: bool,
    verbose: int,
) -> int:
    """Solve, simulate, compare: whatever the case asks for."""
    _check_launch()
    _log(verbose)
    changes = _overrides(overrides, more)
    checked = on_root(comm, lambda: cases.read(case, changes))
    from limitpde import experiment

    directory = cases.directory_of(checked, case.stem, out, quick=quick)
    try:
        result = experiment.run(
            checked,
            out=directory,
            name=case.stem,
            resume=resume,
            quick=quick,
            quiet=quiet,
            check=False,
            limit_hours=limit_hours,
            comm=comm,
        )
    except InputError as error:  # what only the run can find out, such as what a mesh file holds
        raise InputError(f"{case}: {error}") from error
    if result["status"] != "done":
        say(f"limitpde: {result['status']}: {result['reason']}\nwhat was computed is in {directory}", error=True)
    elif not quiet:
        say("\n".join([*([result.verdict["sentence"]] if result.verdict else []), f"{directory / 'report.md'}"]))
    return EXIT[result["status"]]


@cli.command()
@CASE
@MORE
@SET
@OUT
@LIMIT
@QUICK
def check(
    case: Path, more: tuple[str, ...], overrides: tuple[str, ...], out: Path | None, limit_hours: float, quick: bool
) -> None:
    """Read and check a case, say what a run will need, run nothing."""
    changes = _overrides(overrides, more)
    machine = needs.Machine.of(comm)
    from limitpde.sections import Study
    from limitpde.study_plan import StudyPlan

    def report() -> str:
        read = cases.read(case, changes)
        if read.study not in (None, Study()):
            StudyPlan.of(case, changes, {})
        directory = cases.directory_of(read, case.stem, out, quick=quick)
        try:
            read.check_files()
            found = needs.check(read.smaller() if quick else read, directory, machine, hours=limit_hours)
        except InputError as error:
            raise InputError(f"{case}: {error}") from None
        return "its system does not say what a run will need" if found is None else found.report(directory)

    lines = on_root(comm, report)
    say(f"{case}: a valid case\n{lines}")


@cli.command()
@CASE
@MORE
@SET
@click.option("--over", multiple=True, metavar="KEY=V1,V2,...", help="Values of a key; with several, all combinations.")
@click.option("--zip", "together", is_flag=True, default=None, help="The first values of all keys together, and so on.")
@click.option("--precision", type=float, metavar="P", help="Refine undecided runs to this compare.precision.")
@click.option("--budget", type=float, metavar="SECONDS", help="Refine undecided runs, and begin runs, for so long.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the study (default: that of the case _study).")
@LIMIT
@click.option("--resume", is_flag=True, help="Go on from what an earlier study of this case has left in that folder.")
@click.option("--quiet", is_flag=True, help="No line for each run, and no closing line.")
@VERBOSE
def study(
    case: Path,
    more: tuple[str, ...],
    overrides: tuple[str, ...],
    over: tuple[str, ...],
    together: bool | None,
    quiet: bool,
    verbose: int,
    **options: Any,
) -> int:
    """Many runs of one case: sweeps over any keys, refined until there is a verdict; one table, picture and report."""
    _check_launch()
    _log(verbose)
    changes = _overrides(overrides, more)
    values = cases.sweep_of(over)
    from limitpde import studies

    result = studies.study(case, over=values, zip=together, overrides=changes, quiet=quiet, comm=comm, **options)
    if result["status"] != "done":
        say(f"limitpde: {result['status']}: {result['reason']}", error=True)
    if not quiet:
        say(f"{result.told}\n{result.directory / 'report.md'}")
    return EXIT[result["status"]]


def _result(directory: Path) -> Path:
    """The folder of a result."""
    if not (directory / "summary.json").is_file():
        raise InputError(f"{directory}: not the folder of a result (it has no summary.json)")
    return directory


@cli.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--pdf", is_flag=True, help="Each picture as PDF too.")
@click.option("--movie", is_flag=True, help="Movies of fields with the particles over them; needs ffmpeg.")
@click.option("--style", metavar="STYLE", help="A style of matplotlib, by its file or name, over that of the package.")
def show(directory: Path, pdf: bool, movie: bool, style: str | None) -> None:
    """(Re)draw the pictures of a finished run."""
    from limitpde.results import figures, movies, pictures, report
    from limitpde.results import study as studies
    from limitpde.results.folder import Folder
    from limitpde.system import system_of

    def draw() -> tuple[list[Path], list[str]]:
        path = _result(directory) / "summary.json"
        if "runs" in figures.read(path):
            return studies.draw_again(Folder(directory), pdf=pdf, own_style=style), []
        system = system_of(cases.record_of(figures.system(path)))
        folder = Folder(directory)
        folder.claim()
        try:
            moving = movies.write(folder, system.painters, own_style=style) if movie else []
            drawn, notes = pictures.draw(folder, system.painters, pdf=pdf, own_style=style)
            try:
                report.write(folder, drawn, system.wording)
            except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
                raise InputError(f"{path}: not the figures of a run ({type(error).__name__}: {error})") from error
        finally:
            folder.lock.free()
        return [*drawn, *moving], notes

    drawn, notes = on_root(comm, draw)
    for path in drawn:
        say(str(path))
    for note in notes:
        say(f"limitpde: {note}", error=True)


@cli.command("export")
@click.argument("directory", type=click.Path(path_type=Path))
def export_copies(directory: Path) -> None:
    """.pvd copies of fields and particles, for ParaView older than 5.13."""
    from limitpde.results.export import export

    for path in on_root(comm, lambda: export(directory)):
        say(str(path))


@cli.command()
@click.argument("system")
def new(system: str) -> None:
    """Print a commented case to start from."""
    say(cases.example(system).rstrip("\n"))


@cli.command("keys")
@click.argument("system")
def list_keys(system: str) -> None:
    """All keys of a case of a system, with meaning, allowed values and default."""
    from limitpde.keys import keys

    say(keys(system).rstrip("\n"))


@cli.command("schema")
@click.argument("system")
def print_schema(system: str) -> None:
    """The JSON schema of the cases of a system, for editors: keys are completed, wrong ones underlined."""
    from limitpde.schema import schema

    say(schema(system).rstrip("\n"))


@cli.command()
def info() -> None:
    """Versions, MPI, PETSc, threads."""
    from limitpde.results.versions import environment, versions

    entries = {**versions(), **environment(), "ranks": str(comm.size)}
    width = max(len(name) for name in entries)
    say("\n".join(f"{name:<{width}}  {value}" for name, value in entries.items()))


def main(arguments: list[str] | None = None) -> None:
    """Entry point: messages on rank 0, exit status on all ranks; no rank is left waiting when another one fails."""
    for argument in sys.argv[1:] if arguments is None else arguments:
        if cases.torn(argument):  # DOLFINx could not read sys.argv
            say(f"limitpde: {argument!r}: must be text that UTF-8 can hold", error=True)
            sys.exit(WRONG_INPUT)
    with Path(os.devnull).open("w") as nothing, redirect_stdout(nothing if comm.rank > 0 else sys.stdout):
        status = _status(arguments)  # help and versions are printed once
    sys.exit(status)


def _status(arguments: list[str] | None) -> int:
    try:
        result: Any = cli.main(args=arguments, prog_name="limitpde", standalone_mode=False)
        return int(result or 0)
    except click.ClickException as error:
        usage = f"{error.ctx.get_usage()}\n" if isinstance(error, click.UsageError) and error.ctx else ""
        return _leave(f"{usage}limitpde: {error.format_message()}", WRONG_INPUT)
    except InputError as error:
        return _leave(f"limitpde: {error}", WRONG_INPUT)
    except LimitPDEError as error:
        return _leave(f"limitpde: {error}", EXIT["failed"])
    except (click.Abort, KeyboardInterrupt) as error:
        if isinstance(error.__cause__, EOFError):  # click takes every end of a file for Ctrl-D
            return _leave(traceback.format_exc(), EXIT["failed"])
        return _leave("limitpde: interrupted", EXIT["interrupted"], ranks=(0,))
    except OSError as error:  # such as a full disk behind the standard output
        return _leave(f"limitpde: {type(error).__name__}: {error}", EXIT["failed"])
    except SystemExit as error:
        if comm.size == 1:
            raise
        return _leave(f"limitpde: exit({error.code}) was called", EXIT["failed"])
    except BaseException as error:  # whatever it is, the other ranks would wait for this one
        short = f"limitpde: out of memory ({error or 'there is none left'})" if is_out_of_memory(error) else None
        return _leave(short or traceback.format_exc(), EXIT["failed"])


def _leave(message: str, code: int, *, ranks: Container[int] = range(comm.size)) -> int:
    """Say why once and return the exit status; where the other ranks do not come along, end them too.

    Args:
        message: why.
        code: the exit status.

    Keyword Args:
        ranks: those that say it where others do not come along.
    """
    if comm.size > 1 and not all_arrive(comm, seconds=5.0):
        if comm.rank in ranks:
            click.echo(message, err=True)
        comm.Abort(code)
    say(message, error=True)
    return code
