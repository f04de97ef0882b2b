"""Every error the package raises.

::

    LinkageError
    ├── ContractError     a contract file (schema, spec, agreement, policy, settings) is wrong    exit 2
    ├── ExtractError      an extract does not fit its source schema                               exit 3
    ├── NotPermittedError  no agreement in force, a gate or a floor forbids the step               exit 4
    ├── KeyFileError      a key file is missing, malformed, too open, or of another kind          exit 5
    ├── SealError         a sealed file is damaged, foreign, replayed or of another version       exit 6
    ├── LinkError         the encodings cannot be linked                                          exit 7
    ├── EstimateError     a table cannot be estimated from (a refusal is a result, no error)      exit 8
    └── ReleaseError      a release cannot be made or does not verify                             exit 9

Messages name the file, the row number, the column and the rule. They never hold a value from the data, a key or
a score: a message may be logged, mailed and stored by an orchestrator.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "NO_SUCH_FILE",
    "ContractError",
    "EstimateError",
    "ExtractError",
    "KeyFileError",
    "LinkError",
    "LinkageError",
    "NotPermittedError",
    "ReleaseError",
    "SealError",
]


NO_SUCH_FILE = "check the spelling; a path counts from the folder you are in, one in the settings from their folder"
"""What to do about a file that is not there."""


class LinkageError(Exception):
    """Base of all errors of this package.

    Parameters
    ----------
    message
        What is wrong, in lower case, without a full stop and without any value from the data.
    reason
        A short code for machines, in kebab case, such as ``"bad-signature"``.
    hint
        What the reader can do about it; one line.
    problems
        Where a file has several faults: all of them, each on a line of its own.
    """

    exit_code = 1

    def __init__(
        self, message: str, *, reason: str = "error", hint: str | None = None, problems: Sequence[str] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.hint = hint
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n  - ".join((self.message, *self.problems))


class ContractError(LinkageError):
    """A schema, spec, agreement, policy or settings file breaks its own rules."""

    exit_code = 2


class ExtractError(LinkageError):
    """An extract cannot be read, or too many of its rows break the source schema."""

    exit_code = 3


class NotPermittedError(LinkageError):
    """A step that is possible but not allowed: no agreement in force, a gate that refuses, a field not agreed."""

    exit_code = 4


class KeyFileError(LinkageError):
    """A key file is missing, malformed, readable by others, or of the wrong kind."""

    exit_code = 5


class SealError(LinkageError):
    """A sealed file was not accepted. Carries a reason code, never cryptographic detail."""

    exit_code = 6


class LinkError(LinkageError):
    """The encodings cannot be linked."""

    exit_code = 7


class EstimateError(LinkageError):
    """The input of an estimator is not a table of capture histories."""

    exit_code = 8


class ReleaseError(LinkageError):
    """A release cannot be made, or one at hand does not verify."""

    exit_code = 9
