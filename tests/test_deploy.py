"""What we give to operations fits the engine it is for."""

import configparser
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from engine.app import load
from engine.cli.main import segmill
from engine.config.console import ConsoleOptions
from engine.config.listen import ListenMllp

REPOSITORY = Path(__file__).parent.parent
DEPLOY = REPOSITORY / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
COMPOSE = DEPLOY / "compose"
DOCKERFILE = DEPLOY / "docker" / "Dockerfile"
MANIFESTS = sorted(path for path in KUBERNETES.glob("*.yaml") if path.name != "kustomization.yaml")


@pytest.fixture(scope="module")
def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / "systemd" / "segmill.service")
    return parser


def test_the_unit_runs_commands_that_there_are(unit):
    known = segmill.list_commands(click.Context(segmill))
    program, command, *_ = shlex.split(unit["Service"]["ExecStart"])
    assert program.endswith("/segmill")
    assert command in known


def test_a_reload_of_the_unit_is_a_command_that_there_is(unit):
    program, command, site = shlex.split(unit["Service"]["ExecReload"])
    assert program.endswith("/segmill")
    assert command in segmill.list_commands(click.Context(segmill))
    assert site == shlex.split(unit["Service"]["ExecStart"])[-1]


def test_a_broken_configuration_is_not_started_again_and_again(unit):
    from engine.cli.exits import CONFIGURATION

    assert unit["Service"]["RestartPreventExitStatus"] == str(CONFIGURATION)
    assert unit["Service"]["Restart"] == "always"
    # The exit code of a command before it would not count for RestartPreventExitStatus.
    assert "ExecStartPre" not in unit["Service"]


def test_a_stop_has_longer_than_the_engine_takes_to_drain(unit):
    from engine.config.settings import SiteSettings

    assert float(unit["Service"]["TimeoutStopSec"]) > SiteSettings().shutdown


def test_the_service_has_no_rights_that_it_does_not_need(unit):
    service = unit["Service"]
    assert service["User"] == "segmill"
    assert service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""


def ran(*words: str | Path, cwd: Path = REPOSITORY) -> str:
    """What a checker said, which found nothing wrong."""
    said = subprocess.run([str(word) for word in words], cwd=cwd, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr
    return said.stdout + said.stderr


def tool(name: str) -> str:
    """One that a Python package brings, beside this interpreter; skips where there is none."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_takes_the_unit_and_calls_it_well_confined(tmp_path):
    there = tmp_path / "segmill.service"
    there.write_text(
        (DEPLOY / "systemd" / "segmill.service").read_text().replace("/opt/segmill/bin/segmill", "/bin/true")
    )
    assert ran("systemd-analyze", "verify", there) == ""
    ran("systemd-analyze", "security", "--offline=true", "--threshold=20", there)


def test_systemd_hears_of_start_and_life_and_takes_no_core_of_patients_data(unit):
    service = unit["Service"]
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")
    assert float(service["WatchdogSec"]) >= 60, "a disk that stalls for seconds is no reason"
    assert (service["WatchdogSignal"], service["LimitCORE"]) == ("SIGKILL", "0")


# -- containers -------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE))
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines()) if word]


def test_hadolint_has_nothing_to_say_of_the_dockerfile():
    assert ran(tool("hadolint"), "--failure-threshold", "style", DOCKERFILE) == ""


def test_the_image_is_built_apart_and_runs_as_a_number_that_is_not_root():
    words = instructions()
    stages = [rest for word, rest in words if word == "FROM"]
    assert len(stages) == 2 and all(":3.11-" in stage for stage in stages)
    assert [rest for word, rest in words if word == "USER"] == ["10001:10001"]
    assert ("STOPSIGNAL", "SIGTERM") in words
    known = segmill.list_commands(click.Context(segmill))
    (command,) = [rest for word, rest in words if word == "CMD"]
    assert yaml.safe_load(command)[0] in known


def test_the_probe_of_the_image_asks_the_engine_and_no_proxy():
    (probe,) = [rest for word, rest in instructions() if word == "HEALTHCHECK"]
    _, flag, code = json.loads(probe.partition("CMD ")[2])
    answers = [200, 503]

    class Probed(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answers.pop(0) if self.path == "/livez" else 404)
            self.end_headers()

        def log_message(self, *words: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Probed) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        environment = os.environ | {
            "http_proxy": "http://127.0.0.1:1",
            "HTTP_PROXY": "http://127.0.0.1:1",
            "no_proxy": "",
        }
        words = [sys.executable, flag, code.replace("9464", str(server.server_port)).replace("timeout=4", "timeout=60")]
        said = [subprocess.run(words, env=environment, capture_output=True).returncode for _ in range(2)]
        server.shutdown()
        thread.join()
    assert said == [0, 1] and answers == []


def test_what_the_image_copies_is_there_and_let_through():
    let_in = {
        line[1:]
        for line in DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {
        name
        for word, rest in instructions()
        if word == "COPY" and not rest.startswith("--from")
        for name in rest.split()[:-1]
    }
    assert copied == let_in
    assert all((REPOSITORY / name).exists() for name in copied)
    build = (REPOSITORY / "pyproject.toml").read_text()
    for needed in re.findall(r'"(channels|samples)" = "engine/_shipped', build):
        assert needed in copied


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((COMPOSE / "compose.yaml").read_text())


def test_compose_mounts_what_is_there_and_pins_what_it_takes_from_others(compose):
    for name, service in compose["services"].items():
        if "build" in service:
            context = (COMPOSE / service["build"]["context"]).resolve()
            assert context == REPOSITORY and (context / service["build"]["dockerfile"]).is_file()
        else:
            assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]), service["image"]
        for volume in service["volumes"]:
            source = re.sub(r"\$\{\w+:-(.*?)\}", r"\1", volume).split(":")[0]
            if source.startswith("."):
                assert (COMPOSE / source).exists(), (name, source)
                assert volume.endswith(":ro")
            else:
                assert source in compose["volumes"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    engine = compose["services"]["engine"]
    assert engine["read_only"] and engine["cap_drop"] == ["ALL"]


def test_compose_gives_the_engine_longer_than_it_takes_to_drain(compose):
    site = load(KUBERNETES / "site")
    assert site.site is not None
    assert int(compose["services"]["engine"]["stop_grace_period"].rstrip("s")) > site.site.shutdown


def test_only_messages_are_published_beyond_this_machine(compose):
    open_to_all = {p for s in compose["services"].values() for p in s.get("ports", ()) if p.count(":") == 1}
    assert open_to_all == {"2575:2575"}


def test_prometheus_takes_its_settings_with_every_rule_of_ours(compose):
    settings = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())
    assert set(settings["rule_files"]) == {path.name for path in (DEPLOY / "prometheus").glob("*.rules.yaml")}
    (job,) = settings["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    host, _, port = target.partition(":")
    assert host in compose["services"] and int(port) == load(KUBERNETES / "site").site.admin.port
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    ran("promtool", "check", "config", DEPLOY / "prometheus" / "prometheus.yaml")


# -- Kubernetes -------------------------------------------------------------------------------------


def documents() -> list[dict[str, Any]]:
    return [document for path in MANIFESTS for document in yaml.safe_load_all(path.read_text())]


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [document for document in documents() if document["kind"] == kind]


@pytest.fixture
def pod() -> dict[str, Any]:
    (stateful,) = of_kind("StatefulSet")
    return stateful["spec"]["template"]["spec"]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
@pytest.mark.skipif(importlib.util.find_spec("kubernetes_validate") is None, reason="kubernetes-validate is missing")
def test_kubernetes_takes_the_manifests(path: Path):
    ran(tool("kubernetes-validate"), "--strict", "--quiet", path)


def test_the_kustomization_names_every_manifest_and_the_files_of_the_site(pod):
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    assert set(kustomization["resources"]) == {path.name for path in MANIFESTS}
    (made,) = kustomization["configMapGenerator"]
    files = dict(entry.split("=") for entry in made["files"])
    in_site = {path.relative_to(KUBERNETES).as_posix() for path in (KUBERNETES / "site").rglob("*") if path.is_file()}
    assert set(files.values()) == in_site
    (volume,) = [volume for volume in pod["volumes"] if volume.get("configMap", {}).get("name") == made["name"]]
    mounted = {item["key"]: f"site/{item['path']}" for item in volume["configMap"]["items"]}
    assert mounted == files
    assert kustomization["images"][0]["name"] == pod["containers"][0]["image"]


def test_one_engine_for_one_store_drains_before_it_is_killed(pod):
    (stateful,) = of_kind("StatefulSet")
    assert stateful["spec"]["replicas"] == 1
    assert pod["terminationGracePeriodSeconds"] > load(KUBERNETES / "site").site.shutdown


def test_the_pod_has_no_rights_that_it_does_not_need(pod):
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_probes_ask_what_the_engine_answers(pod):
    (container,) = pod["containers"]
    asked = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {name: get["path"] for name, get in asked.items()} == {
        "startupProbe": "/livez",
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
    }
    liveness = container["livenessProbe"]
    assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 60, "a disk that stalls is no reason"


def test_the_site_is_in_order_and_its_ports_are_those_of_the_manifests(pod, compose):
    site = load(KUBERNETES / "site")
    assert [finding for finding in site.findings if finding.is_error] == []
    (channel,) = site.channels
    assert channel.file.listen is not None and site.site is not None and site.site.admin is not None
    options = channel.file.listen.options
    assert isinstance(options, ListenMllp) and (options.host, site.site.admin.host) == ("0.0.0.0", "0.0.0.0")
    (container,) = pod["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"mllp": options.port, "metrics": site.site.admin.port}
    (exposed,) = [rest for word, rest in instructions() if word == "EXPOSE"]
    assert {str(port) for port in ports.values()} <= set(exposed.split())
    assert f"127.0.0.1:{site.site.admin.port}/livez" in DOCKERFILE.read_text()
    services = {p["name"]: p["port"] for service in of_kind("Service") for p in service["spec"]["ports"]}
    assert services == ports
    assert str(site.site.data) == "/var/lib/segmill"
    assert any(mount["mountPath"] == "/var/lib/segmill" for mount in container["volumeMounts"])


def test_the_console_of_compose_is_for_this_machine_and_its_files_are_secrets():
    compose = yaml.safe_load((COMPOSE / "console.yaml").read_text())
    engine = compose["services"]["engine"]
    assert set(compose["services"]) <= set(yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"])
    assert engine["ports"] == ["127.0.0.1:8443:8443"]
    assert set(engine["secrets"]) == set(compose["secrets"])
    told = (COMPOSE / "console.yaml").read_text()
    (settings,) = re.findall(r"^#   (console: .*)$", told, re.MULTILINE)
    options = ConsoleOptions.model_validate(yaml.safe_load(settings)["console"])
    assert options.host == "0.0.0.0" and options.tls is not None
    named = {str(options.tls.certificate), str(options.tls.key)}
    assert named == {f"/run/secrets/{name}" for name in compose["secrets"]}
    assert f"{options.port}:{options.port}" in engine["ports"][0]


WITH_CONSOLE = KUBERNETES / "console"


@pytest.fixture
def overlay(pod) -> dict[str, Any]:
    """The pod with what the overlay adds: all of its patch are additions at the end of lists."""
    for operation in yaml.safe_load((WITH_CONSOLE / "patch.yaml").read_text()):
        assert operation["op"] == "add"
        *way, last = operation["path"].removeprefix("/spec/template/spec/").split("/")
        assert last == "-"
        there: Any = pod
        for part in way:
            there = there[int(part)] if isinstance(there, list) else there[part]
        there.append(operation["value"])
    return pod


@pytest.mark.parametrize("name", ["service.yaml", "networkpolicy.yaml"])
@pytest.mark.skipif(importlib.util.find_spec("kubernetes_validate") is None, reason="kubernetes-validate is missing")
def test_kubernetes_takes_what_the_console_adds(name):
    ran(tool("kubernetes-validate"), "--strict", "--quiet", WITH_CONSOLE / name)


@pytest.mark.skipif(importlib.util.find_spec("kubernetes_validate") is None, reason="kubernetes-validate is missing")
def test_kubernetes_takes_the_engine_with_its_console(overlay, tmp_path):
    (stateful,) = of_kind("StatefulSet")
    stateful["spec"]["template"]["spec"] = overlay
    (tmp_path / "statefulset.yaml").write_text(yaml.safe_dump(stateful))
    ran(tool("kubernetes-validate"), "--strict", "--quiet", tmp_path / "statefulset.yaml")


def test_the_overlay_names_all_of_its_files_and_what_it_is_laid_over():
    told = yaml.safe_load((WITH_CONSOLE / "kustomization.yaml").read_text())
    below = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    assert told["namespace"] == below["namespace"]
    (patch,) = told["patches"]
    (stateful,) = of_kind("StatefulSet")
    assert patch["target"] == {"kind": "StatefulSet", "name": stateful["metadata"]["name"]}
    files = {path.name for path in WITH_CONSOLE.glob("*.yaml")} - {"kustomization.yaml"}
    assert {*told["resources"], patch["path"]} == files | {".."}


def test_the_console_of_kubernetes_has_its_port_its_certificate_and_those_who_may_reach_it(overlay):
    (settings,) = re.findall(r"^#   (console: .*)$", (WITH_CONSOLE / "kustomization.yaml").read_text(), re.MULTILINE)
    options = ConsoleOptions.model_validate(yaml.safe_load(settings)["console"])
    assert options.host == "0.0.0.0" and options.tls is not None
    (container,) = overlay["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports["console"] == options.port and len(set(ports.values())) == len(container["ports"])
    assert "console" not in {container[name]["httpGet"]["port"] for name in container if name.endswith("Probe")}
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "console"]
    assert mount["readOnly"] is True
    assert {str(options.tls.certificate), str(options.tls.key)} == {
        f"{mount['mountPath']}/{name}" for name in ("tls.crt", "tls.key")
    }
    (volume,) = [volume for volume in overlay["volumes"] if volume["name"] == "console"]
    assert volume["secret"]["defaultMode"] == 0o440 and "fsGroup" in overlay["securityContext"]
    created = f"kubectl create secret tls {volume['secret']['secretName']} "
    assert created in (WITH_CONSOLE / "kustomization.yaml").read_text()
    service = yaml.safe_load((WITH_CONSOLE / "service.yaml").read_text())
    policy = yaml.safe_load((WITH_CONSOLE / "networkpolicy.yaml").read_text())
    labels = of_kind("StatefulSet")[0]["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["type"] == "ClusterIP" and service["spec"]["selector"].items() <= labels.items()
    (exposed,) = service["spec"]["ports"]
    assert (exposed["port"], exposed["targetPort"]) == (options.port, "console")
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    (rule,) = policy["spec"]["ingress"]
    assert [port["port"] for port in rule["ports"]] == ["console"] and rule["from"]


def test_selectors_find_the_pod():
    labels = of_kind("StatefulSet")[0]["spec"]["template"]["metadata"]["labels"]
    for service in of_kind("Service"):
        assert service["spec"]["selector"].items() <= labels.items()
    (policy,) = of_kind("NetworkPolicy")
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
