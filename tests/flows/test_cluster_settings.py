"""What a hub's settings may say of a cluster, and what the hub's flow makes of it."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from flows import hub
from linkage.contract import Settings, load_settings
from linkage.contract.settings import ClusterSettings
from linkage.errors import ContractError, LinkError

SERVER = {"server": "http://127.0.0.1:4201/api"}
TLS = {"ca_file": "ca.pem", "cert_file": "cert.pem", "key_file": "key.pem", **SERVER}


@pytest.mark.parametrize(
    ("scheduler", "files"),
    [
        ("tls://hub.county.example:8786", TLS),
        ("tls://[2001:db8::1]:8786", TLS),
        ("tcp://127.0.0.1:8786", {}),
        ("tcp://[::1]:8786", {}),
        ("tcp://localhost:8786", {}),
        ("tcp://localhost:8786", SERVER),
        ("tls://10.0.0.1:8786", {**TLS, "server": "https://prefect.example/api"}),
    ],
)
def test_a_scheduler_is_spoken_to_under_tls_or_on_this_host(scheduler: str, files: dict[str, str]) -> None:
    ClusterSettings.model_validate({"scheduler": scheduler, "shared_folder": "shared", **files})


@pytest.mark.parametrize(
    ("scheduler", "files", "told"),
    [
        ("tcp://10.0.0.1:8786", {}, "beyond this host only under TLS"),
        ("tcp://localhost.example:8786", {}, "beyond this host only under TLS"),
        ("tcp://0.0.0.0:8786", {}, "beyond this host only under TLS"),
        ("tcp://10.0.0.1:8786", TLS, "beyond this host only under TLS"),
        ("tcp://127.0.0.1:8786", TLS, "with tls://host:port alone"),
        ("tls://10.0.0.1:8786", SERVER, "TLS takes ca_file, cert_file and key_file"),
        ("tls://10.0.0.1:8786", {"ca_file": "ca.pem", **SERVER}, "TLS takes ca_file, cert_file and key_file"),
        ("ucx://127.0.0.1:8786", {}, "should be tls://host:port"),
        ("127.0.0.1:8786", {}, "should be tls://host:port"),
        ("tcp://127.0.0.1:8786@10.0.0.1:8786", {}, "should be tls://host:port"),
    ],
)
def test_settings_of_a_cluster_that_are_refused(
    scheduler: str, files: dict[str, str], told: str, tmp_path: Path
) -> None:
    table = {"scheduler": scheduler, "shared_folder": "shared", **files}
    hub = {"party_key": "hub.key", "analysis": "analysis.pub", "inbox": "in", "state": "state"}
    lines = ['project = "test"', 'epoch = "2026-1"', 'profile = "default"', "[hub]"]
    lines += [f'{name} = "{value}"' for name, value in hub.items()]
    lines += ["[hub.senders]", "[hub.agreements]", "[hub.cluster]"]
    lines += [f'{name} = "{value}"' for name, value in table.items()]
    path = tmp_path / "linkage.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ContractError) as error:
        load_settings(path)
    (problem,) = error.value.problems
    assert problem.startswith("hub.cluster.scheduler: ") and told in problem


@pytest.mark.parametrize(
    ("server", "told"),
    [
        (None, "has a Prefect server of its own"),
        ("http://10.0.0.1:4201/api", "should be http://127.0.0.1:port/api"),
        ("http://127.0.0.1:4201", "should be http://127.0.0.1:port/api"),
        ("http://user:secret@127.0.0.1:4201/api", "should be http://127.0.0.1:port/api"),
    ],
)
def test_beyond_this_host_a_cluster_has_a_prefect_server_of_its_own(server: str | None, told: str) -> None:
    content = {"scheduler": "tls://10.0.0.1:8786", "shared_folder": "shared", **TLS, "server": server}
    with pytest.raises(ValidationError, match=told):
        ClusterSettings.model_validate(content)


def _site(cluster_settings: dict[str, str] | None) -> Any:
    hub_settings = {"party_key": "k", "analysis": "a", "inbox": "i", "state": "s", "senders": {}, "agreements": {}}
    content = {"project": "test", "epoch": "1", "profile": "default"}
    return Settings.model_validate({**content, "hub": {**hub_settings, "cluster": cluster_settings}})


def test_the_hub_compares_on_this_machine_unless_its_settings_name_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub._comparer(_site(None)) as comparer:
        assert comparer is None
    named = _site({"scheduler": "tcp://127.0.0.1:9", "shared_folder": str(tmp_path)})
    with hub._comparer(named) as comparer:
        assert comparer is not None
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(LinkError) as error, hub._comparer(named):
        pass
    assert (error.value.reason, error.value.hint) == (
        "missing-package",
        "in the project's folder: pip install '.[cluster]'",
    )


DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


@pytest.mark.parametrize("role", ["scheduler", "worker"])
def test_a_units_options_are_dasks_and_it_speaks_tls_to_the_private_network_alone(role: str) -> None:
    from distributed.cli import dask_scheduler, dask_worker

    text = (DEPLOY / "systemd" / f"linkage-dask-{role}.service").read_text(encoding="utf-8")
    start = text[text.index("ExecStart=") :].partition("\nRestart")[0].replace("\\\n", " ").split()
    command = {"scheduler": dask_scheduler.main, "worker": dask_worker.main}[role]
    known = {name for parameter in command.params for name in parameter.opts}
    given = {word for word in start if word.startswith("--")}
    assert given <= known
    assert {"--host", "--tls-ca-file", "--tls-cert", "--tls-key", "--dashboard-address"} <= given
    assert start[start.index("--dashboard-address") + 1].startswith("127.0.0.1:")
    assert "InaccessiblePaths=-/etc/linkage/keys" in text and "UMask=0077" in text


def test_the_clusters_prefect_server_is_another_account_and_its_port_is_what_the_tunnel_brings() -> None:
    from prefect.settings.legacy import _get_settings_fields
    from prefect.settings.models.root import Settings as PrefectSettings

    units = {
        name: (DEPLOY / "systemd" / f"linkage-{name}.service").read_text(encoding="utf-8")
        for name in ("cluster-server", "dask-tunnel", "server")
    }
    text = units["cluster-server"]
    assert "DynamicUser=yes" in text and "InaccessiblePaths=-/etc/linkage -/var/lib/linkage" in text
    assert "--host 127.0.0.1 --port 4201" in text and "--host 127.0.0.1 --port 4200" in units["server"]
    assert "-L 127.0.0.1:4201:127.0.0.1:4201" in units["dask-tunnel"] and "4200" not in units["dask-tunnel"]
    lines = [line.removeprefix("Environment=") for line in text.splitlines() if line.startswith("Environment=")]
    named = {word.partition("=")[0] for line in lines for word in line.split()}
    known = {field.name for field in _get_settings_fields(PrefectSettings).values()}
    assert {name for name in named if name.startswith("PREFECT_")} <= known


def test_the_recipes_settings_are_taken() -> None:
    text = (DEPLOY / "README.md").read_text(encoding="utf-8")
    table = text[text.index("[hub.cluster]") :].partition("```")[0]
    settings = ClusterSettings.model_validate(tomllib.loads(table)["hub"]["cluster"])
    assert settings.server == "http://127.0.0.1:4201/api"


def test_every_setting_of_dask_in_the_environment_exists_and_no_server_is_started() -> None:
    import dask

    lines = (DEPLOY / "cluster.env.example").read_text(encoding="utf-8").splitlines()
    entries = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    named = [name for name in entries if name.startswith("DASK_")]
    assert named
    for name in named:
        key = name.removeprefix("DASK_").lower().replace("__", ".").replace("_", "-")
        assert dask.config.get(key, "absent") != "absent"
    assert entries["PREFECT_SERVER_EPHEMERAL_ENABLED"] == "false"
    assert int(entries["NUMBA_NUM_THREADS"]) > 0
