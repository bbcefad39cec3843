"""`python -m gossipsim` is the command `gossipsim`."""

from gossipsim.cli import main

if __name__ == "__main__":
    main()
