"""The command as a whole: exit codes, one line an error, no value from the data, a light install."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from linkage import __version__
from linkage.cli import console, main
from linkage.errors import ContractError, LinkageError, SealError

Run = Callable[..., Any]


def test_a_line_for_people_holds_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("  the signer is \x1b[2K\x1b]0;x\x07\nevil [bold]")
    assert capsys.readouterr().err == "  the signer is  [2K ]0;x  evil [bold]\n"


def test_help_and_version_of_the_installed_command(command: Run) -> None:
    told = command("--help")
    assert told.code == 0
    for part in ("steward", "hub", "research", "keys", "lab", "inspect", "demo", "Exit codes"):
        assert part in told.out
    assert command("--version").out.strip() == __version__


@pytest.mark.parametrize(
    "words",
    [
        ["steward", "check"],
        ["steward", "submit"],
        ["hub", "link"],
        ["research", "estimate"],
        ["research", "release"],
        ["research", "verify"],
        ["keys", "linkage"],
        ["keys", "party"],
        ["inspect"],
        ["lab", "population"],
        ["lab", "accuracy"],
        ["demo"],
    ],
)
def test_every_command_of_the_plan_is_there(linkage: Run, words: list[str]) -> None:
    told = linkage(*words, "--help")
    assert told.code == 0
    assert f"linkage {' '.join(words)}" in told.out


def test_an_agencys_install_has_all_steward_commands_without_the_extras() -> None:
    """The packages of the extras are hidden from the import system: help works, and other wings say what to install."""
    hidden = ["numba", "scipy", "prefect", "pandas", "recordlinkage", "matplotlib", "jinja2", "faker", "llvmlite"]
    code = (
        "import sys\n"
        f"for name in {hidden!r}: sys.modules[name] = None\n"
        "from linkage.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )

    def light(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)

    helped = light("steward", "--help")
    assert (helped.returncode, "submit" in helped.stdout) == (0, True)
    linked = light("hub", "link", "--out", "nowhere")
    assert linked.returncode == 1
    assert "pip install '.[hub]'" in linked.stderr
    shown = light("demo", "--out", "nowhere")
    assert shown.returncode == 1
    assert "pip install '.[lab]'" in shown.stderr
    assert not Path("nowhere").exists()


def test_wrong_usage_is_64_with_the_help_to_ask_for(linkage: Run) -> None:
    told = linkage("hub", "lnk")
    assert (told.code, told.out) == (64, "")
    assert told.err.splitlines()[1] == "linkage: hint: linkage hub --help"
    assert linkage("steward", "check", "extract.csv").code == 64


def test_errors_are_told_in_a_line_each_and_as_json(linkage: Run, tmp_path: Path) -> None:
    told = linkage("inspect", tmp_path / "gone.batch", "--json")
    assert told.code == SealError.exit_code
    assert told.err.startswith(f"linkage: error: {tmp_path}/gone.batch: no such file\nlinkage: hint: ")
    assert told.json["reason"] == "unreadable"
    assert linkage("inspect", tmp_path / "gone.batch").out == ""


def test_problems_are_listed_and_control_characters_do_not_reach_the_terminal() -> None:
    error = ContractError("two\nlines \x1b[31m", reason="x", hint="a\x07b", problems=["row 1: rule", "row 2: rule"])
    assert console.describe(error) == [
        "linkage: error: two lines  [31m",
        "  - row 1: rule",
        "  - row 2: rule",
        "linkage: hint: a b",
    ]


@pytest.mark.parametrize("kind", [ValueError, KeyError, RuntimeError, BaseException])
def test_a_fault_of_the_program_shows_where_and_never_what(
    capsys: pytest.CaptureFixture[str], kind: type[BaseException]
) -> None:
    def broken() -> None:
        raise kind("WASHINGTON 1999-03-12")

    assert console.guard(broken, as_json=True, usage="") == 70
    captured = capsys.readouterr()
    assert f"linkage: error: internal error in {__name__}:broken:" in captured.err or "guard" in captured.err
    assert f"({kind.__name__})" in captured.err
    assert "WASHINGTON" not in captured.err + captured.out


def test_other_ends(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def stopped() -> None:
        raise KeyboardInterrupt

    assert console.guard(stopped, as_json=False, usage="") == 130
    assert console.guard(lambda: (tmp_path / "gone").read_bytes(), as_json=False, usage="") == 74
    told = capsys.readouterr().err
    assert "gone: no such file" in told and "linkage: hint: check the spelling" in told
    assert console.guard(tmp_path.read_bytes, as_json=False, usage="") == 74
    assert "linkage: hint: see whether this account" in capsys.readouterr().err
    assert console.guard(lambda: 3, as_json=False, usage="") == 3

    def missing() -> None:
        raise ModuleNotFoundError("No module named 'scipy'", name="scipy.stats")

    assert console.guard(missing, as_json=False, usage="") == 1
    assert "'.[research]'" in capsys.readouterr().err

    def ours_is_missing() -> None:
        raise ModuleNotFoundError("No module named 'linkage.gone'", name="linkage.gone")

    assert console.guard(ours_is_missing, as_json=False, usage="") == 70


def test_every_class_of_error_has_an_exit_code_of_its_own() -> None:
    codes = [kind.exit_code for kind in LinkageError.__subclasses__()]
    assert len(set(codes)) == len(codes)
    assert not set(codes) & {0, 1, 64, 70, 74, 130}
    documented = {int(line.split()[0]) for line in (main.__globals__["__doc__"]).splitlines() if line[:1].isdigit()}
    assert documented == {0, 1, *codes, 64, 70, 74, 130}


def test_a_reader_that_goes_away_is_no_fault(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-c", "import sys; from linkage.cli import main; sys.exit(main(['--help']))"],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert "Traceback" not in done.stderr.replace("Exception ignored", "")


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (("research", "estimate", "gone.csv"), 8, "check the spelling"),
        (("research", "estimate", "h.csv", "--list", "mpd", "--list", "dfc"), 8, "are: mpd, dcf, pohsey"),
        (("research", "estimate", "h.csv", "--list", "mpd", "--list", "mpd"), 8, "name each list once"),
        (("research", "estimate", "h.csv", "--list", "mpd", "--list", "dcf"), 8, "name them as well: pohsey"),
        (("research", "estimate", "h.csv", "--referral", "mpd:xx"), 8, "lists of this table are: mpd, dcf, pohsey"),
        (("research", "estimate", "h.csv", "--referral", "mpd"), 8, "--referral mpd:dcf"),
        (("research", "verify", "gone"), 9, "the folder that holds release.json"),
        (("inspect", "gone.batch"), 6, "check the spelling"),
        (("keys", "show", "gone.key"), 5, "check the spelling"),
        (("research", "estimate", "h.csv", "--resamples", "99"), 8, "a number from 100 on"),
        (("steward", "check", "gone.csv", "--source", "mpd"), 3, "check the spelling"),
        (("steward", "check", "gone.csv"), 64, "such as --source mpd"),
        (("steward", "submit", "gone.csv"), 64, "such as --source mpd"),
        (("lab", "population", "--seed", "-1", "--out", "p"), 2, "leave the minus sign out"),
        (("lab", "accuracy", "gone.csv", "--spec", "default", "--entity-column", "p"), 2, "check the spelling"),
        (("lab", "accuracy", "h.csv", "--spec", "gone.yaml", "--entity-column", "p"), 2, "check the spelling"),
        (("hub", "link", "--out", "runs", "--settings", "gone.toml"), 2, "name one with --settings"),
    ],
)
def test_what_is_not_there_is_told_with_what_to_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    code: int,
    hint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = ("1,0,0,50", "0,1,0,40", "0,0,1,30", "1,1,0,20", "1,0,1,20", "0,1,1,20", "1,1,1,10")
    Path("h.csv").write_text("\n".join(["mpd,dcf,pohsey,count", *rows]) + "\n")
    assert main(list(words)) == code
    told = capsys.readouterr().err.splitlines()
    assert told[-2].startswith("linkage: error: ") and told[-1].startswith("linkage: hint: ")
    assert hint in told[-1]
