"""What may cross the engine: paths, counts and errors without values. No server is needed here."""

from __future__ import annotations

import asyncio
import inspect
import json
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from prefect import Flow, Task, states
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import TerminationSignal

from flows import analysis, encode, engine, hub, monthly
from linkage.errors import ContractError, ExtractError, LinkageError

MODULES = (analysis, encode, hub, monthly)
FLOWS = [value for module in MODULES for value in vars(module).values() if isinstance(value, Flow)]
TASKS = [value for module in MODULES for value in vars(module).values() if isinstance(value, Task)]


def test_flows_and_tasks_are_found() -> None:
    assert sorted(flow.name for flow in FLOWS) == ["analysis", "encode", "hub", "monthly"]
    assert len(TASKS) == 7


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_parameters_of_flows_are_text_and_nothing_is_kept(flow: Any) -> None:
    for parameter in inspect.signature(flow.fn, eval_str=True).parameters.values():
        assert parameter.annotation in (str, str | None)
    assert (flow.persist_result, flow.log_prints, flow.retries) == (False, False, 0)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_tasks_take_text_are_redacted_not_cached_and_rarely_retried(task: Any) -> None:
    for parameter in inspect.signature(task.fn, eval_str=True).parameters.values():
        assert parameter.annotation in (str, str | None)
    assert (task.persist_result, task.log_prints, task.cache_policy) == (False, False, NO_CACHE)
    assert inspect.unwrap(task.fn) is not task.fn
    if task.retries:
        assert task.name in ("check_extract", "take_in_batches")
        assert task.retry_condition_fn is engine._is_file_access


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (LinkageError("x", reason="file-access"), True),
        (ExtractError("x", reason="too-many-failures"), False),
        (ValueError("x"), False),
    ],
)
def test_only_a_file_out_of_reach_is_tried_again(error: Exception, again: bool) -> None:
    state: Any = states.Failed(data=error)
    assert engine._is_file_access(TASKS[0], None, state) is again  # type: ignore[arg-type]


def test_an_error_leaves_a_task_without_its_words() -> None:
    @engine.redacted
    def wrong(kind: str) -> None:
        if kind == "own":
            try:
                raise ValueError("WASHINGTON")
            except ValueError as error:
                raise ContractError("a field is wrong") from error
        if kind == "file":
            raise FileNotFoundError(2, "No such file", "extract.csv")
        raise KeyError("WASHINGTON")

    with pytest.raises(ContractError, match="a field is wrong") as own:
        wrong("own")
    assert own.value.__cause__ is None and own.value.__suppress_context__
    with pytest.raises(LinkageError, match=r"extract\.csv: no such file") as file:
        wrong("file")
    assert (file.value.reason, file.value.exit_code) == ("file-access", 74)
    with pytest.raises(LinkageError, match=r"internal error in .*\(KeyError\)") as other:
        wrong("other")
    assert "WASHINGTON" not in str(other.value)
    assert other.value.exit_code == 70


def test_a_panic_leaves_a_task_without_its_words_and_a_stop_goes_through() -> None:
    @engine.redacted
    def wrong(error: BaseException) -> None:
        raise error

    class Panic(BaseException):
        """As the compiled libraries raise it: no Exception."""

    with pytest.raises(LinkageError, match=r"internal error in .*\(Panic\)") as told:
        wrong(Panic("WASHINGTON"))
    assert "WASHINGTON" not in str(told.value)
    for stop in (KeyboardInterrupt(), SystemExit(3), asyncio.CancelledError(), TerminationSignal(signal=15)):
        with pytest.raises(type(stop)):
            wrong(stop)


def test_another_process_tells_its_result_and_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    client = SimpleNamespace(api_url="http://127.0.0.1:9/api/")
    monkeypatch.setattr(engine, "get_client", lambda **_: nullcontext(client))
    asked: list[Any] = []

    def answer(out: str, code: int) -> None:
        def run(words: list[str], **named: Any) -> Any:
            asked.append((words, named))
            return subprocess.CompletedProcess(words, code, out.encode())

        monkeypatch.setattr(engine.subprocess, "run", run)

    answer(json.dumps({"run": "somewhere"}), 0)
    assert engine.in_own_process("flows.hub", "--month", "2026-11") == {"run": "somewhere"}
    assert asked[0][0] == [sys.executable, "-m", "flows.hub", "--month", "2026-11"]
    assert asked[0][1]["env"]["PREFECT_API_URL"] == "http://127.0.0.1:9/api"
    answer(json.dumps({"error": "stale", "reason": "stale", "hint": None, "problems": ["a: stale"]}), 6)
    with pytest.raises(LinkageError, match="stale") as told:
        engine.in_own_process("flows.hub")
    assert (told.value.reason, told.value.exit_code, told.value.problems) == ("stale", 6, ("a: stale",))
    for out in ("", "[]", json.dumps({"run": "somewhere"})):
        answer(out, -9)
        with pytest.raises(LinkageError, match=r"flows\.hub ended with code -9"):
            engine.in_own_process("flows.hub")


@pytest.mark.parametrize("reason", [*engine.CLUSTER_ENDS, "x", 1, None, ["stopped"], "stopped\x1b[2J"])
def test_of_what_a_stranger_tells_a_known_reason_counts_alone(reason: Any) -> None:
    words = "WASHINGTON \x1b]0;owned\x07\n" * 1_000
    content = {"error": words, "reason": reason, "hint": words, "problems": [words] * 1_000, "more": words}
    with pytest.raises(LinkageError) as told:
        engine.answer_of("flows.compare", 7, json.dumps(content).encode(), stranger=True)
    error = told.value
    known = isinstance(reason, str) and reason in engine.CLUSTER_ENDS
    assert error.reason == (reason if known else "process-ended") and error.problems == ()
    told_of_it = f"{error} {error.hint} {error.reason}"
    assert told_of_it.isprintable() and "WASHINGTON" not in told_of_it and error.exit_code == 7


@pytest.mark.parametrize("module", ["monthly", "encode"])
def test_a_module_has_a_help(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"flows.{module}", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"python -m flows.{module}" in done.stdout
    assert "--settings" in done.stdout


def test_wrong_usage_and_missing_settings_of_a_module(
    capsys: pytest.CaptureFixture[str], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LINKAGE_SETTINGS", raising=False)
    assert engine.run_main("flows.monthly", monthly.main, ["--moth", "2026-11"]) == 64
    assert "python -m flows.monthly --help" in capsys.readouterr().err
    assert engine.run_main("flows.monthly", monthly.main, ["--month", "2026-11"]) == 2
    assert json.loads(capsys.readouterr().out)["reason"] == "no-settings"
