"""`python -m limitpde`: the command line."""

from limitpde.cli import main

if __name__ == "__main__":
    main()
