"""The command line: `milvus-ichash`. One file per command; everything heavy is imported inside the commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


def main() -> None:
    """Run the program."""
    from milvus_ichash.cli.app import app

    guarded(app)


def guarded(program: Callable[[], object]) -> None:
    """Run a program: errors become one sentence on stderr and an exit code, never a traceback."""
    from milvus_ichash.cli.output import complain
    from milvus_ichash.errors import IchashError

    try:
        program()
    except IchashError as error:
        complain(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        complain("interrupted.")
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output (head, less) has gone; nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
