"""``python -m dubcli``: the same as the ``dubcli`` command."""

from dubcli.cli.app import main

if __name__ == "__main__":
    main()
