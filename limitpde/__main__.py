"""`limitpde` and `python -m limitpde`: the command line, with Ctrl-C honoured from the first moment."""

import os
import signal
import sys


def main() -> None:
    """Load the command line, which takes a moment, and run it."""
    try:
        from limitpde.cli import main as run
    except KeyboardInterrupt:
        os.write(sys.stderr.fileno(), b"limitpde: interrupted\n")
        os._exit(128 + signal.SIGINT)
    run()


if __name__ == "__main__":
    main()
