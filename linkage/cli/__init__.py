"""The command ``linkage``.

Exit codes
----------
====  ==============================================================================
0     done
1     a package is missing, or an error without a class of its own
2     a contract file (schema, spec, agreement, policy, settings) is wrong
3     an extract does not fit its source schema
4     not permitted: no agreement in force, or a gate refuses
5     a key file is missing, malformed, too open or of another kind
6     a sealed file is damaged, foreign, replayed or of another version
7     the encodings cannot be linked
8     a table cannot be estimated from
9     a release cannot be made or does not verify
64    the command was not written as its help says
70    a fault of the program
74    a file cannot be read or written
130   stopped from the keyboard
====  ==============================================================================

With ``--json`` an error is told on stdout as well, as an object with ``error``, ``reason``, ``hint``, ``problems``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import cyclopts

from linkage import __version__
from linkage.cli import demo, hub, keys, lab, ledger, research, steward
from linkage.cli.console import guard
from linkage.cli.inspect import inspect

__all__ = ["app", "main"]

app = cyclopts.App(
    name="linkage",
    version=__version__,
    help="Count people across agencies, each once, without a name leaving an agency.",
    help_epilogue=(
        "Exit codes: 0 done, 2 contract file, 3 extract, 4 not permitted, 5 key file, 6 sealed file, 7 linking, "
        "8 table, 9 release, 1 anything else; 64 wrong usage, 70 program fault, 74 file access, 130 stopped."
    ),
)
for part in (steward, hub, research, keys, ledger, lab):
    app.command(part.app)
app.command(inspect)
app.command(demo.demo)


def main(tokens: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Parameters
    ----------
    tokens
        The command line without the program's name; that of the process by default.
    """
    words = list(sys.argv[1:] if tokens is None else tokens)

    def call() -> object:
        return app(words, exit_on_error=False, print_error=False, result_action="return_value")

    return guard(call, as_json="--json" in words, usage=" ".join(["linkage", *_command(words), "--help"]))


def _command(words: list[str]) -> list[str]:
    """Return the words that name the command."""
    found: list[str] = []
    parser = app
    for word in words:
        if word.startswith("-") or word not in parser:
            break
        parser = parser[word]
        found.append(word)
    return found
