"""What ``deploy/`` says fits the project: no container engine is needed to see that."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import promql_parser
import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase
from typer.main import get_command

from saferank.cli import app
from saferank.gateway.figures import Figures
from saferank.indexer.operate import metrics
from saferank.indexer.score.report import Outcome
from saferank.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
RABBITMQ: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.rabbitmq.yaml").read_text())
UNITS = ROOT / "deploy" / "systemd"
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "saferank"}
# The keys of the Compose specification that are used here.
KEYS = {
    "build", "command", "depends_on", "entrypoint", "environment", "healthcheck", "image",
    "mem_limit", "ports", "profiles", "restart", "stop_grace_period", "volumes",
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
    workers = set(OURS) - {"gateway"}
    assert workers == {"worker-fresh", "worker", "beat"}
    by_default = {name for name, service in SERVICES.items() if "profiles" not in service}
    assert by_default == {"elasticsearch", "valkey", *workers}
    assert OURS["worker"]["environment"]["SAFERANK_BROKER_URL"] == "redis://valkey:6379/0"
    changed = RABBITMQ["services"]
    assert changed["valkey"] == {"profiles": ["valkey"]}
    for name in workers:
        assert set(OURS[name]["depends_on"]) == {"elasticsearch"}
        assert changed[name]["environment"] == {
            "SAFERANK_BROKER_URL": "amqp://saferank:saferank@rabbitmq:5672//"
        }
    assert set(changed) == {"rabbitmq", "valkey", *workers}
    assert set(changed["rabbitmq"]) <= KEYS


def test_every_service_has_a_limit_and_a_worker_room_for_its_processes() -> None:
    limits = {
        name: int(service["mem_limit"][:-1]) * {"g": 1024, "m": 1}[service["mem_limit"][-1]]
        for name, service in {**SERVICES, "rabbitmq": RABBITMQ["services"]["rabbitmq"]}.items()
    }
    for name in ("worker-fresh", "worker"):
        processes = parse(OURS[name]["command"])["concurrency"]
        assert limits[name] >= processes * Settings().indexer.child_memory_mb


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_refers_only_to_what_is_there(name: str) -> None:
    service = SERVICES[name]
    assert set(service) <= KEYS
    for other, condition in service.get("depends_on", {}).items():
        assert "test" in SERVICES[other]["healthcheck"], condition
    for volume in service.get("volumes", ()):
        name = re.sub(r"^\$\{\w+:-(.*)\}", r"\1", volume).split(":")[0]
        assert name.startswith("./") or name in COMPOSE["volumes"]
    for port in service.get("ports", ()):
        assert port.startswith("127.0.0.1:"), "published to everybody"


@pytest.mark.parametrize("name", ["worker-fresh", "worker"])
def test_workers_start_with_options_that_exist_and_serve_both_queues(name: str) -> None:
    parsed = parse(OURS[name]["command"])
    assert parsed["queues"] == {"worker-fresh": "fresh", "worker": "fresh,backfill"}[name]
    assert OURS[name]["ports"][0].endswith(f":{parsed['metrics_port']}")
    seconds = int(OURS[name]["stop_grace_period"].removesuffix("s"))
    assert seconds > Settings().indexer.time_limit


def test_the_gateway_starts_with_options_that_exist_and_finishes_what_it_answers() -> None:
    unit = (UNITS / "saferank-gateway.service").read_text()
    started = re.search(r"^ExecStart=\S+/saferank (.*)$", unit, re.M)
    stopped = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.M)
    files = re.search(r"^LimitNOFILE=(\d+)$", unit, re.M)
    assert started
    assert stopped
    assert files
    own = Settings().gateway
    for arguments in (OURS["gateway"]["command"], started[1].split()):
        parsed = parse(arguments)
        assert parsed["policy"] == Path("/etc/saferank/policy.yaml")
        assert parsed["port"] == 9280
    seconds = OURS["gateway"]["stop_grace_period"].removesuffix("s")
    assert int(seconds) > own.timeout
    assert int(stopped[1]) > own.timeout
    assert int(files[1]) > own.connections + own.concurrency


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


def exported() -> set[str]:
    """The names that Prometheus sees, of workers and gateways."""
    collectors = [
        *(one for one in vars(metrics).values() if isinstance(one, MetricWrapperBase)),
        *vars(Figures(lambda: 0, lambda: False)).values(),
    ]
    return {
        sample
        for one in collectors
        if isinstance(one, MetricWrapperBase)
        for family in one.describe()
        for sample in names_of(family.name, family.type)
    } | {"saferank_gateway_inside"}


def names_of(name: str, kind: str) -> set[str]:
    endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    return {name + ending for ending in endings.get(kind, ("",))}


RULES = yaml.safe_load((ROOT / "deploy/prometheus/saferank.rules.yaml").read_text())
DASHBOARD = json.loads((ROOT / "deploy/grafana/saferank.json").read_text())
EXPRESSIONS = [
    *(rule["expr"] for group in RULES["groups"] for rule in group["rules"]),
    *(
        target["expr"].replace("$__rate_interval", "5m")
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    ),
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_alerts_and_dashboard_ask_for_figures_that_are_there(expression: str) -> None:
    promql_parser.parse(expression)
    asked = set(re.findall(r"saferank_\w+", expression))
    assert asked
    assert asked <= exported()


def test_the_outcomes_and_queues_that_alerts_name_exist() -> None:
    named = re.findall(r'(outcome|queue)="(\w+)"', " ".join(EXPRESSIONS))
    known = {"outcome": {one.value for one in Outcome}, "queue": {"fresh", "backfill"}}
    assert named
    assert all(value in known[label] for label, value in named)


KUBERNETES: list[dict[str, Any]] = list(
    yaml.safe_load_all((ROOT / "deploy/kubernetes/saferank.yaml").read_text())
)


@pytest.mark.parametrize("resource", KUBERNETES, ids=lambda one: one["metadata"]["name"])
@pytest.mark.parametrize("version", ["1.31", "1.34"])
def test_kubernetes_takes_the_resources(resource: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(resource, version, strict=True)


def test_kubernetes_runs_commands_that_exist_with_settings_that_exist(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deployments = {
        one["metadata"]["name"]: one["spec"] for one in KUBERNETES if one["kind"] == "Deployment"
    }
    queues = {}
    for name, spec in deployments.items():
        assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
        (container,) = spec["template"]["spec"]["containers"]
        if "args" in container:
            parsed = parse(container["args"])
            queues[name] = parsed["queues"]
            assert parsed["metrics_port"] == container["ports"][0]["containerPort"]
            assert parse(container["livenessProbe"]["exec"]["command"][1:])["live"] is True
            seconds = spec["template"]["spec"]["terminationGracePeriodSeconds"]
            assert seconds > Settings().indexer.time_limit
    assert queues == {"saferank-worker-fresh": "fresh", "saferank-worker": "fresh,backfill"}
    assert deployments["saferank-beat"]["replicas"] == 1
    (given,) = [one["data"] for one in KUBERNETES if one["kind"] == "ConfigMap"]
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    assert Settings().indexer.sweep == ()


@pytest.mark.parametrize("unit", sorted(UNITS.glob("*.service")), ids=lambda unit: unit.name)
def test_a_systemd_unit_starts_what_exists(unit: Path) -> None:
    # Lines may be repeated, so it is read as lines.
    lines = [line.partition("=") for line in unit.read_text().splitlines() if "=" in line]
    start = [value for key, _, value in lines if key == "ExecStart"]
    assert len(start) == 1
    command = start[0].replace("%i", "fresh,backfill")
    program, *arguments = command.replace("$WORKER_OPTIONS", "--metrics-port 9808").split()
    assert Path(program).parent == Path("/opt/saferank/bin")
    if Path(program).name == "saferank":
        parse([re.sub(r"\$\{\w+\}", "products", each) for each in arguments])
    else:
        assert arguments[:4] == ["--quiet", "-A", "saferank.indexer.worker", "beat"]
    settings = [value for key, _, value in lines if key == "EnvironmentFile" and value[0] != "-"]
    assert settings == ["/etc/saferank/saferank.env"]
    seconds = [float(value) for key, _, value in lines if key == "TimeoutStopSec"]
    if "worker" in unit.name:
        assert seconds[0] > Settings().indexer.time_limit


def test_only_what_the_image_copies_is_sent_to_be_built() -> None:
    sent = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.M))
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.M)
        for source in line.split()[:-1]
    }
    assert copied <= sent
