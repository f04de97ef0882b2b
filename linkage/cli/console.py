"""How commands speak: errors and hints in one line each, progress only on a terminal, both on stderr."""

from __future__ import annotations

import json as json_module
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cyclopts
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from linkage.contract.settings import Settings, find_settings, load_settings
from linkage.errors import NO_SUCH_FILE, LinkageError

__all__ = [
    "INTERNAL",
    "IO",
    "STOPPED",
    "USAGE",
    "describe",
    "file_access",
    "guard",
    "internal_error",
    "missing_package",
    "open_settings",
    "print_json",
    "printable",
    "report",
    "say",
    "spaced",
    "steps",
    "working",
]

USAGE, INTERNAL, IO, STOPPED = 64, 70, 74, 130
"""Exit codes that belong to no class of error: EX_USAGE, EX_SOFTWARE and EX_IOERR of sysexits.h, 128 + SIGINT."""

_EXTRAS = {
    "hub": ("numba", "llvmlite", "scipy", "prefect", "recordlinkage", "pandas"),
    "research": ("scipy", "matplotlib", "jinja2"),
    "lab": ("faker",),
    "custody": ("shamir_mnemonic", "segno"),
}


def print_json(text: str) -> None:
    """Write JSON to stdout; nothing else goes there in the same command."""
    sys.stdout.write(text + "\n")


def say(line: str) -> None:
    """Write a line for people to stderr, as it is but for control characters, which a stranger's file may hold."""
    Console(stderr=True, emoji=False).print(printable(line), highlight=False, markup=False, soft_wrap=True)


def spaced(text: str) -> str:
    """Put hex into groups of four, for reading aloud."""
    return " ".join(text[start : start + 4] for start in range(0, len(text), 4))


def open_settings(given: Path | None) -> Settings:
    """Find and read the site's settings, and say which file that was."""
    path = find_settings(given)
    settings = load_settings(path)
    say(f"settings: {path}")
    return settings


@contextmanager
def working(words: str, *, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Show that long work is going on; the function given sets the words. Silent unless stderr is a terminal."""
    console = Console(stderr=True, emoji=False)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task(words, total=None)
        yield lambda now: bar.update(task, description=now)


@contextmanager
def steps(words: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar; the function given takes how many are done and how many there are."""
    console = Console(stderr=True, emoji=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(words, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def guard(call: Callable[[], object], *, as_json: bool, usage: str) -> int:
    """Call a command and return its exit code; an error is told, and nothing of its own words if it is not ours.

    Parameters
    ----------
    call
        The command. An integer that it returns is the exit code.
    as_json
        Tell errors on stdout, too.
    usage
        The hint after a wrong command line.
    """
    try:
        result = call()
        return result if isinstance(result, int) else 0
    except LinkageError as error:
        told = error
    except cyclopts.CycloptsError as error:
        told = LinkageError(str(error), reason="usage", hint=usage)
        told.exit_code = USAGE
    except ModuleNotFoundError as error:
        ours = error.name is None or error.name.partition(".")[0] in ("linkage", "flows")
        told = internal_error(error) if ours else missing_package(str(error.name))
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone: there is nobody to tell
        return IO
    except OSError as error:
        told = file_access(error)
    except (KeyboardInterrupt, EOFError):
        told = LinkageError("stopped", reason="stopped", hint="run it again to go on")
        told.exit_code = STOPPED
    except SystemExit:
        raise
    except BaseException as error:  # a panic of a compiled library is no Exception, and its message may hold data
        told = internal_error(error)
    report(told, as_json=as_json)
    return told.exit_code


def describe(error: LinkageError) -> list[str]:
    """Return the lines in which an error is told: the error, its problems indented, the hint."""
    lines = [f"linkage: error: {_one_line(error.message)}"]
    lines += [f"  - {_one_line(problem)}" for problem in error.problems]
    if error.hint:
        lines.append(f"linkage: hint: {_one_line(error.hint)}")
    return lines


def report(error: LinkageError, *, as_json: bool) -> None:
    """Tell an error on stderr, and for machines on stdout too."""
    for line in describe(error):
        sys.stderr.write(line + "\n")
    if as_json:
        content = {
            "error": error.message,
            "reason": error.reason,
            "hint": error.hint,
            "problems": list(error.problems),
        }
        print_json(json_module.dumps(content, indent=2))


def _one_line(text: str) -> str:
    """Return text without line breaks and without control characters, which a file's name may hold."""
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """Put a space in the place of each control character: a stranger's text moves no cursor and clears no screen."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def internal_error(error: BaseException) -> LinkageError:
    """Say where a program error is, in the words of the code alone: its own message may hold data."""
    frames = [
        f"{frame.f_globals.get('__name__', '?')}:{frame.f_code.co_name}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    ours = [place for place in frames if place.startswith(("linkage.", "flows."))]
    place = (ours or frames or ["?"])[-1]
    told = LinkageError(
        f"internal error in {place} ({type(error).__name__})",
        reason="internal",
        hint="this is a fault of the program; report this line, which holds nothing from your data",
    )
    told.exit_code = INTERNAL
    return told


def file_access(error: OSError) -> LinkageError:
    """Name the file and what the system says of it."""
    where = f"{error.filename}: " if error.filename is not None else ""
    hint = "see whether this account may read and write there, and whether there is space left"
    told = LinkageError(
        f"{where}{(error.strerror or 'the file cannot be opened').lower()}",
        reason="file-access",
        hint=NO_SUCH_FILE if isinstance(error, FileNotFoundError) else hint,
    )
    told.exit_code = IO
    return told


def missing_package(name: str) -> LinkageError:
    """Say which extra, or which of two, brings a package that is not installed."""
    extras = [extra for extra, packages in _EXTRAS.items() if name.partition(".")[0] in packages] or ["lab"]
    return LinkageError(
        f"this command needs the package {name.partition('.')[0]}, which is not installed",
        reason="missing-package",
        hint="in the project's folder: " + " or ".join(f"pip install '.[{extra}]'" for extra in extras),
    )
