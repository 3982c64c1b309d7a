"""`limitpde` and `python -m limitpde`: the command line, with Ctrl-C honoured from the first moment."""

from limitpde import launch


def main() -> None:
    """Load the command line, which takes a moment, and run it."""
    from limitpde.cli import main as run

    launch.loaded()
    run()


if __name__ == "__main__":
    main()
