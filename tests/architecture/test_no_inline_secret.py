"""A key comes from a file that somebody names, and a PIN from the terminal: never from an argument or the environment.

Arguments stand in the list of processes and in a shell's history, the environment in crash reports and child processes.
"""

from __future__ import annotations

import ast
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cyclopts
import pytest
from pydantic import BaseModel, ValidationError

import linkage
from linkage.cli import app
from linkage.contract.settings import ClusterSettings, Settings

SECRET = re.compile(r"key|secret|pin|pass(word|phrase)?|token|share|seed|words?|credential|auth", re.IGNORECASE)

NO_SECRET = {
    "--key-label": "names a key on a token",
    "--token-label": "names a token",
    "--shares": "how many are made",
    "--seed": "of a simulation",
    "--seeds": "how many simulations",
}
"""Parameters that are no path and sound as if they took a secret, and why they do not."""

TEXT = {
    *("--by", "--ceremony", "--classifier", "--entity-column", "--epoch", "--id", "--key-label", "--list", "--month"),
    *("--n", "--name", "--only", "--overlap", "--project", "--reason", "--referral", "--repeats", "--scenario"),
    *("--source", "--source-column", "--spec", "--token-label"),
}
"""Parameters that take any text. Whoever adds one says here that it is no place for a secret."""

SETTINGS_TEXT = {"project", "epoch", "profile", "source", "cluster.scheduler", "cluster.server"}


def leaves(hint: Any) -> set[Any]:
    """Return the types that a hint comes down to; a literal is one of few words and no type."""
    if typing.get_origin(hint) is typing.Literal:
        return set()
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Annotated:
        arguments = arguments[:1]
    if not arguments:
        return {hint} - {types.NoneType, ...}
    return set().union(*(leaves(argument) for argument in arguments))


def commands(parser: cyclopts.App, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], cyclopts.App]]:
    for name in parser:
        if not name.startswith("-"):
            yield (*path, name), parser[name]
            yield from commands(parser[name], (*path, name))


def arguments() -> Iterator[tuple[str, Any]]:
    for path, command in commands(app):
        if command.default_command is not None:
            for argument in command.assemble_argument_collection(parse_docstring=False):
                yield " ".join(path), argument


def test_no_argument_takes_a_secret() -> None:
    found = list(arguments())
    assert len(found) > 60 and any(argument.names == ("--module",) for _, argument in found), "the walk sees commands"
    for command, argument in found:
        name, kinds = argument.names[0], leaves(argument.hint)
        assert kinds <= {Path, str, int, float, bool}, (command, name)
        if kinds & {str}:
            assert name in TEXT, f"{command} {name}: takes any text"
        if SECRET.search(name) and kinds - {Path, bool}:
            assert name in NO_SECRET, f"{command} {name}: sounds like a secret and is no path"


def test_no_argument_comes_from_the_environment_or_a_configuration() -> None:
    assert not [name for name, argument in arguments() if argument.parameter.env_var]
    assert not [path for path, command in [((), app), *commands(app)] if command.config]


def all_fields() -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []

    def walk(model: type[BaseModel], path: str) -> None:
        for name, field in model.model_fields.items():
            kinds = leaves(field.annotation)
            inner = {kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)}
            found.append((f"{path}{name}", kinds - inner))
            for kind in inner:
                walk(kind, f"{path}{name}.")

    walk(Settings, "")
    return found


def test_no_setting_takes_a_secret() -> None:
    found = all_fields()
    assert {"steward.linkage_key", "hub.party_key", "analysis.party_key", "hub.cluster.key_file"} <= {
        name for name, _ in found
    }
    for name, kinds in found:
        assert kinds <= {Path, str, int, float, bool}, name
        if SECRET.search(name.rpartition(".")[2]):
            assert Path in kinds and kinds <= {Path, str} and (str not in kinds or _maps(name)), name
        elif str in kinds and not _maps(name):
            assert name.removeprefix("steward.").removeprefix("hub.") in SETTINGS_TEXT, f"{name}: takes any text"


def _maps(name: str) -> bool:
    """Whether a field is a table of paths by the name of a source."""
    model: Any = Settings
    for part in name.split("."):
        hint = model.model_fields[part].annotation
        inner = [kind for kind in leaves(hint) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        model = inner[0] if inner else None
    return typing.get_origin(hint) is dict


@pytest.mark.parametrize("server", ["https://user:word@host/api", "http://user:word@127.0.0.1:4201/api"])
def test_an_address_in_the_settings_has_no_place_for_a_password(server: str) -> None:
    with pytest.raises(ValidationError):
        ClusterSettings(scheduler="tcp://127.0.0.1:8786", shared_folder=Path("x"), server=server)


def test_the_package_reads_nothing_from_the_environment_but_where_its_settings_are() -> None:
    read = set()
    for path in Path(linkage.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv", "getenvb")
            imported = isinstance(node, ast.ImportFrom) and node.module == "os"
            if named or (imported and {alias.name for alias in node.names} & {"environ", "getenv"}):
                read.add(path.relative_to(Path(linkage.__file__).parent).as_posix())
    assert read == {"contract/settings.py"}
    text = (Path(linkage.__file__).parent / "contract" / "settings.py").read_text(encoding="utf-8")
    assert re.findall(r"environ.*", text)[1:] == ['environ.get("LINKAGE_SETTINGS", "linkage.toml"))']
