"""Entry point of ``python -m deploy``."""

from __future__ import annotations

import sys

from deploy import interrupts

INTERRUPTED = 130


def main() -> int:
    """Run the command line; an interrupt ends it in good order from its first moment, imports included."""
    interrupts.install()
    try:
        from deploy import command_line

        return command_line.main()
    except KeyboardInterrupt:
        print("Interrupted.")
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
