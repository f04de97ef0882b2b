"""The deployment files: entrypoints exist, parameters fit the flows, the schedule and the settings are as promised."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
PREFECT = yaml.safe_load((DEPLOY / "prefect.yaml").read_text(encoding="utf-8"))


def _flow(entrypoint: str) -> Any:
    """Load a flow as a worker does: from its file, by its name."""
    path, name = entrypoint.split(":")
    spec = importlib.util.spec_from_file_location(f"deployed_{name}", ROOT / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


@pytest.mark.parametrize("deployment", PREFECT["deployments"], ids=lambda entry: entry["name"])
def test_a_deployments_flow_takes_its_parameters(deployment: dict[str, Any]) -> None:
    from prefect import Flow

    flow = _flow(deployment["entrypoint"])
    assert isinstance(flow, Flow)
    accepted = inspect.signature(flow.fn).parameters
    assert set(deployment["parameters"]) <= set(accepted)
    needed = {name for name, entry in accepted.items() if entry.default is inspect.Parameter.empty}
    assert needed <= {*deployment["parameters"], "run"}, "only the run's folder is given when the flow is started"
    assert (flow.persist_result, flow.log_prints) == (False, False)
    assert deployment["work_pool"]["name"] == "linkage"
    assert deployment["concurrency_limit"]["limit"] == 1


def test_the_month_is_scheduled_in_the_countys_time() -> None:
    (county,) = [entry for entry in PREFECT["deployments"] if entry.get("schedules")]
    assert county["entrypoint"] == "flows/monthly.py:monthly"
    assert [(entry["cron"], entry["timezone"]) for entry in county["schedules"]] == [("0 6 5 * *", "America/Chicago")]


def test_units_and_containers_run_without_analytics_and_without_a_server_of_their_own() -> None:
    environment = dict(
        line.split("=", 1)
        for line in (DEPLOY / "linkage.env.example").read_text(encoding="utf-8").splitlines()
        if "=" in line and not line.startswith("#")
    )
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    services = [compose["services"][name]["environment"] for name in ("server", "worker")]
    for entries in (environment, *services):
        assert entries["PREFECT_SERVER_EPHEMERAL_ENABLED"] == "false"
        assert entries["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
        assert entries["DO_NOT_TRACK"] == "1"
    assert environment["PREFECT_API_AUTH_STRING"] == environment["PREFECT_SERVER_API_AUTH_STRING"] == ""
    for unit in ("server", "worker"):
        text = (DEPLOY / "systemd" / f"linkage-{unit}.service").read_text(encoding="utf-8")
        assert "EnvironmentFile=/etc/linkage/linkage.env" in text
    assert not any("/etc/linkage" in volume for volume in compose["services"]["server"]["volumes"])


def test_compiled_kernels_are_kept_where_the_account_alone_may_write() -> None:
    """They are run as they are found: whoever can write there runs programs as the hub."""
    kept = "/var/lib/linkage/numba"
    for name in ("linkage.env.example", "cluster.env.example"):
        assert f"\nNUMBA_CACHE_DIR={kept}\n" in (DEPLOY / name).read_text(encoding="utf-8")
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert f"ENV NUMBA_CACHE_DIR={kept}" in lines
    assert f"RUN install -d -m 700 -o linkage -g linkage {kept}" in lines[: lines.index("USER linkage")]


def test_every_prefect_setting_in_the_files_exists() -> None:
    """A setting that is misspelt is not refused by Prefect but passed over."""
    from prefect.settings.legacy import _get_settings_fields
    from prefect.settings.models.root import Settings

    known = {field.name for field in _get_settings_fields(Settings).values()}
    lines = (DEPLOY / "linkage.env.example").read_text(encoding="utf-8").splitlines()
    named = {line.lstrip("#").split("=", 1)[0] for line in lines if line.lstrip("#").startswith("PREFECT_")}
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    for service in ("server", "worker"):
        named |= {name for name in compose["services"][service]["environment"] if name.startswith("PREFECT_")}
    assert named
    assert named <= known
