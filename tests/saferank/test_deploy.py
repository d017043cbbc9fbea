"""What ``deploy/`` says fits the project: no container engine is needed to see that."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from saferank.cli import app
from saferank.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "saferank"}
# The keys of the Compose specification that are used here.
KEYS = {
    "build", "command", "depends_on", "entrypoint", "environment", "healthcheck", "image", "ports",
    "profiles", "restart", "stop_grace_period", "volumes",
}  # fmt: skip


def json_list(instruction: str, text: str) -> list[str]:
    found = re.search(rf"^{instruction} (\[.*\])$", text, re.M)
    assert found, instruction
    value: list[str] = yaml.safe_load(found[1])
    return value


def parse(arguments: list[str]) -> dict[str, Any]:
    """Let the real command line read arguments, without running the command."""
    command = get_command(app).commands[arguments[0]]  # type: ignore[attr-defined]
    parsed: dict[str, Any] = command.make_context(arguments[0], arguments[1:]).params
    return parsed


def test_there_are_two_workers_a_beat_and_either_broker() -> None:
    assert set(OURS) == {"worker-fresh", "worker", "beat"}
    assert {name for name, s in SERVICES.items() if "valkey" in s.get("profiles", ())} == {
        "valkey", *OURS,
    }  # fmt: skip
    assert {name for name, s in SERVICES.items() if "rabbitmq" in s.get("profiles", ())} == {
        "rabbitmq", *OURS,
    }  # fmt: skip


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_refers_only_to_what_is_there(name: str) -> None:
    service = SERVICES[name]
    assert set(service) <= KEYS
    for other, condition in service.get("depends_on", {}).items():
        assert "test" in SERVICES[other]["healthcheck"], condition
    for volume in service.get("volumes", ()):
        assert volume.split(":")[0] in COMPOSE["volumes"]
    for port in service.get("ports", ()):
        assert port.startswith("127.0.0.1:"), "published to everybody"


@pytest.mark.parametrize("name", ["worker-fresh", "worker"])
def test_workers_start_with_options_that_exist_and_serve_both_queues(name: str) -> None:
    parsed = parse(OURS[name]["command"])
    assert parsed["queues"] == {"worker-fresh": "fresh", "worker": "fresh,backfill"}[name]
    assert OURS[name]["ports"][0].endswith(f":{parsed['metrics_port']}")
    seconds = int(OURS[name]["stop_grace_period"].removesuffix("s"))
    assert seconds > Settings().indexer.time_limit


def test_environment_is_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in OURS["worker"]["environment"].items():
        default = re.sub(r"^\$\{\w+:-(.*)\}$", r"\1", value)
        monkeypatch.setenv(variable, default)
    settings = Settings()
    assert settings.elasticsearch_url == "http://elasticsearch:9200"
    assert settings.broker_url == "redis://valkey:6379/0"
    assert (settings.log_format, settings.indexer.sweep) == ("json", ())
    monkeypatch.setenv("SAFERANK_INDEXER__SWEEP", '["products"]')
    assert Settings().indexer.sweep == ("products",)
    known = {f"SAFERANK_{name.upper()}" for name in Settings.model_fields}
    for variable in OURS["worker"]["environment"]:
        assert variable.split("__")[0] in known


def test_the_image_copies_what_exists_and_runs_commands_that_exist() -> None:
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.M):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
    folders = {
        path.split("/")[0]
        for path in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"][
            "package-dir"
        ].values()
    }
    copied = set(re.findall(r"^COPY (\w+) \1$", DOCKERFILE, re.M))
    assert folders == copied
    extras = re.search(r'"\.\[([\w,]+)\]"', DOCKERFILE)
    assert extras
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras[1].split(",")) <= set(project["optional-dependencies"])
    assert json_list("ENTRYPOINT", DOCKERFILE) == ["saferank"]
    parse(json_list("CMD", DOCKERFILE))
    health = re.search(r"^HEALTHCHECK .*\\\n\s+CMD (\[.*\])$", DOCKERFILE, re.M)
    assert health
    assert parse(yaml.safe_load(health[1])[1:])["live"] is True
