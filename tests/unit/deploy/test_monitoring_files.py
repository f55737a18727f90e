"""Alert rules, scrape configuration and dashboard: that they fit what is exported, and fire when they should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric

from feature_repo.settings import PROJECT_ROOT, Settings
from ingestion.collector import app as collector_app
from ingestion.health import metrics as health_metrics
from serving import metrics as serving_metrics

MONITORING = PROJECT_ROOT / "deploy" / "monitoring"
RULES = MONITORING / "alerts.yml"
DASHBOARD = MONITORING / "grafana" / "shelfwise.json"
RUNBOOK = PROJECT_ROOT / "docs" / "operations.md"
# What Prometheus adds to every series of a job.
ADDED_LABELS = {"job", "instance"}
SELECTOR = re.compile(r"\b(shelfwise_\w+|up)\b(?:\{([^}]*)\})?")
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed: `sh deploy/apt_install.sh prometheus` brings it"
)

Case = tuple[dict[str, str], int, dict[str, str] | None]


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def expressions() -> list[str]:
    return [rule["expr"] for rule in alerts()] + [
        target["expr"] for panel in panels() for target in panel.get("targets", [])
    ]


def exported() -> dict[str, set[str]]:
    """Every series that the processes export, and its labels."""
    collector = vars(collector_app.Metrics()).values()
    wrapped = [m for m in (*collector, *vars(serving_metrics).values()) if isinstance(m, MetricWrapperBase)]
    described: list[tuple[Metric, Iterable[str]]] = [
        (family, metric._labelnames) for metric in wrapped for family in metric.describe()
    ]
    described += [(family, family._labelnames) for family in health_metrics._Families().all]  # type: ignore[attr-defined]
    found = {"up": set[str]()}
    for family, labels in described:
        if family.type == "counter":
            found[f"{family.name}_total"] = set(labels)
        elif family.type == "histogram":
            found |= {f"{family.name}_{end}": set(labels) for end in ("sum", "count")}
            found[f"{family.name}_bucket"] = {*labels, "le"}
        else:
            found[family.name] = set(labels)
    return found


def test_what_is_asked_for_is_exported() -> None:
    there = exported()
    assert len(there) > 30
    for expression in expressions():
        used = SELECTOR.findall(expression)
        assert used, expression
        for name, selectors in used:
            assert name in there, f"nobody exports {name}: {expression}"
            for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selectors):
                assert label in there[name] | ADDED_LABELS, f"{name} has no label {label}: {expression}"
        labels = set().union(*(there[name] for name, _ in used)) | ADDED_LABELS
        for group in re.findall(r"\b(?:by|on|without)\s*\(([^)]*)\)", expression):
            assert {label.strip() for label in group.split(",") if label.strip()} <= labels, expression


def test_texts_name_labels_that_survive_the_aggregation() -> None:
    for rule in alerts():
        grouped = [set(re.split(r"[\s,]+", group)) for group in re.findall(r"by \(([^)]*)\)", rule["expr"])]
        kept = set().union(*grouped) if grouped else ADDED_LABELS
        for text in rule["annotations"].values():
            assert set(re.findall(r"\$labels\.(\w+)", text)) <= kept, rule["alert"]
    for panel in panels():
        for target in panel.get("targets", []):
            there = set(re.split(r"[\s,]+", " ".join(re.findall(r"by \(([^)]*)\)", target["expr"]))))
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= there, panel["title"]


def test_every_alert_says_what_it_is_and_leads_to_its_section_of_the_runbook() -> None:
    sections = re.findall(r"^### (\w+)$", RUNBOOK.read_text(), re.MULTILINE)
    names = [rule["alert"] for rule in alerts()]
    assert sorted(sections) == sorted(names)
    for rule in alerts():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"


def test_the_rule_for_all_other_checks_leaves_out_just_those_with_a_rule_of_their_own() -> None:
    own, left_out = set(), set()
    for rule in alerts():
        own |= set(re.findall(r'shelfwise_alarm\{check="([^"]+)"\}', rule["expr"]))
        for names in re.findall(r'shelfwise_alarm\{check!~"([^"]+)"\}', rule["expr"]):
            left_out |= set(names.split("|"))
    assert own == left_out
    assert {"lag", "schema", "freshness", "model age"} <= own


def test_prometheus_looks_where_the_processes_listen() -> None:
    jobs = {
        job["job_name"]: job["static_configs"][0]["targets"]
        for job in yaml.safe_load((MONITORING / "prometheus.yml").read_text())["scrape_configs"]
    }
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    assert jobs == {
        f"shelfwise-{job}": [f"{defaults[section].host}:{defaults[section].port}"]
        for job, section in (("stream", "health"), ("collector", "collector"), ("serving", "serving"))
    }
    named = set(re.findall(r'job="([^"]+)"', " ".join(expressions())))
    assert named == set(jobs)


def test_prometheus_of_the_containers_has_the_same_jobs_and_rules() -> None:
    here, there = (yaml.safe_load((MONITORING / f"prometheus{end}.yml").read_text()) for end in ("", ".compose"))
    services = yaml.safe_load((PROJECT_ROOT / "compose.yaml").read_text())["services"]
    for job, of_container in zip(here.pop("scrape_configs"), there.pop("scrape_configs"), strict=True):
        (target,) = job["static_configs"][0]["targets"]
        name = job["job_name"].removeprefix("shelfwise-")
        assert name in services
        assert of_container == {
            "job_name": job["job_name"],
            "static_configs": [{"targets": [target.replace("127.0.0.1", name)]}],
        }
    assert here == there


def test_grafana_of_the_containers_finds_prometheus_and_the_dashboard() -> None:
    services = yaml.safe_load((PROJECT_ROOT / "compose.yaml").read_text())["services"]
    mounts = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    provisioning = MONITORING / "grafana" / "provisioning"
    assert mounts[f"./{provisioning.relative_to(PROJECT_ROOT)}"] == "/etc/grafana/provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert (source["type"], source["url"], source["isDefault"]) == ("prometheus", "http://prometheus:9090", True)
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "shelfwise.yml").read_text())["providers"]
    dashboard = mounts[f"./{DASHBOARD.relative_to(PROJECT_ROOT)}"]
    assert dashboard == f"{provider['options']['path']}/{DASHBOARD.name}"
    assert services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == dashboard


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    assert (dashboard["uid"], dashboard["title"]) == ("shelfwise", "Shelfwise")
    assert dashboard["schemaVersion"] >= 39
    (variable,) = dashboard["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")
    assert len({panel["id"] for panel in panels()}) == len(panels())
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["type"] in ("timeseries", "stat")
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["fieldConfig"]["defaults"]["unit"]
        references = [target["refId"] for target in panel["targets"]]
        assert references
        assert len(set(references)) == len(references)
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])


# Alert: (series that raise it, minute at which they have, labels of the alarm); then series that must not raise anything.
def of_check(check: str, subject: str = "x") -> tuple[Case, Case, Case]:
    series = f'shelfwise_alarm{{check="{check}",subject="{subject}",job="shelfwise-stream"}}'
    return (
        ({series: "1x90"}, 80, {"subject": subject}),
        ({series: "0x90"}, 80, None),
        ({series: "0x9 1 0x80"}, 11, None),  # a moment only
    )


REQUESTS = 'shelfwise_requests_total{scenario="home",fallback="none",model="a"}'
FALLBACKS = 'shelfwise_requests_total{scenario="home",fallback="popular",model="a"}'
BUCKET = 'shelfwise_latency_seconds_bucket{scenario="home",model="a",le="%s"}'
TRAINED = 'shelfwise_promoted_model_trained_timestamp_seconds{version="b"}'
UP = 'up{job="shelfwise-%s",instance="i"}'
HEALTH_AT = "shelfwise_health_timestamp_seconds"
READS = 'shelfwise_feature_reads_total{result="%s"}'
ERRORS = 'shelfwise_errors_total{code="internal_error",model="a"}'
OVERLOADED = 'shelfwise_errors_total{code="overloaded",model="a"}'
DEGRADED = 'shelfwise_degraded_answers_total{missing="%s"}'
REFUSED = 'shelfwise_collector_refused_requests_total{code="%s"}'


def down(job: str) -> tuple[Case, ...]:
    at = {HEALTH_AT: "0+60x90"} if job == "stream" else {}
    return (
        ({UP % job: "1x9 0x80"}, 30, {"job": f"shelfwise-{job}", "instance": "i"}),
        ({UP % job: "1x90", **at}, 30, None),
        ({UP % job: "1x9 0 1x80", **at}, 10, None),
    )


CASES: dict[str, tuple[Case, ...]] = {
    "ShelfwiseStreamDown": down("stream"),
    "ShelfwiseCollectorDown": down("collector"),
    "ShelfwiseServiceDown": down("serving"),
    "ShelfwiseHealthStale": (
        ({HEALTH_AT: "0x90", UP % "stream": "1x90"}, 10, {}),
        ({UP % "stream": "1x90"}, 10, {}),
        ({HEALTH_AT: "0+60x90", UP % "stream": "1x90"}, 60, None),
    ),
    "ShelfwiseStreamNotReady": of_check("stream", "process"),
    "ShelfwiseServerUnreachable": of_check("server", "redis")[:2],
    "ShelfwiseServiceNotReady": of_check("service", "collector"),
    "ShelfwiseLag": of_check("lag", "events/0"),
    "ShelfwiseFeaturesBehind": of_check("freshness", "item_activity"),
    "ShelfwiseOnlineStoreLost": of_check("online store", "redis"),
    "ShelfwiseFeedQuiet": of_check("events", "shelfwise.events: all"),
    "ShelfwisePartitionQuiet": of_check("partition", "2"),
    "ShelfwiseEventsLate": of_check("event delay", "shelfwise.events"),
    "ShelfwiseSchemaMismatch": of_check("schema", "wrong_type properties.price"),
    "ShelfwisePullFailing": of_check("pull", "shop/orders"),
    "ShelfwiseModelOld": of_check("model age", "b"),
    "ShelfwiseModelWorthless": of_check("model quality", "next product, HR@20"),
    "ShelfwiseEventsNotTaken": (
        ({REFUSED % "unavailable": "0+6x90"}, 30, {}),
        ({REFUSED % "unavailable": "6x90", REFUSED % "missing_field": "0+6x90"}, 30, None),
    ),
    "ShelfwiseServiceErrors": (
        ({ERRORS: "0+2x90", REQUESTS: "0+60x90"}, 30, {}),
        ({ERRORS.replace("internal_error", "model_failed"): "0+2x90", REQUESTS: "0+60x90"}, 30, {}),
        ({ERRORS: "0+1x90", REQUESTS: "0+120x90"}, 30, None),
    ),
    "ShelfwiseServiceSlow": (
        ({BUCKET % "0.1": "0+50x90", BUCKET % "0.25": "0+60x90", BUCKET % "+Inf": "0+60x90"}, 30, {}),
        ({BUCKET % "0.1": "0+59x90", BUCKET % "0.25": "0+60x90", BUCKET % "+Inf": "0+60x90"}, 30, None),
    ),
    "ShelfwiseFeatureReadsFail": (
        ({READS % "timeout": "0+3x90", READS % "failed": "0+3x90", READS % "found": "0+60x90"}, 30, {}),
        ({READS % "failed": "0+1x90", READS % "skipped": "0+59x90"}, 30, {}),
        ({READS % "timeout": "0+2x90", READS % "unknown": "0+30x90", READS % "found": "0+60x90"}, 30, None),
    ),
    "ShelfwiseServiceOverloaded": (
        ({OVERLOADED: "0+6x90", REQUESTS: "0+60x90"}, 30, {}),
        ({OVERLOADED: "0x9 60x80", REQUESTS: "0+60x90"}, 30, None),
    ),
    "ShelfwiseAnswersDegraded": (
        ({DEGRADED % "ranker": "0+6x90", DEGRADED % "model": "0x90", REQUESTS: "0+60x90"}, 30, {"missing": "ranker"}),
        ({DEGRADED % "ranker": "0+2x90", DEGRADED % "exploration": "0+60x90", REQUESTS: "0+60x90"}, 30, None),
    ),
    "ShelfwiseFallbacksRise": (
        ({REQUESTS: "0+60x1600", FALLBACKS: "0x1439 0+40x160"}, 1_510, {}),
        ({REQUESTS: "0+60x1600", FALLBACKS: "0+40x1600"}, 1_510, None),
        ({REQUESTS: "0+60x1600", FALLBACKS: "0x1439 0+40x160"}, 1_200, None),
    ),
    "ShelfwiseItemFeaturesOld": (
        ({"shelfwise_catalogue_read_timestamp_seconds": "0x90"}, 30, {}),
        ({"shelfwise_catalogue_read_timestamp_seconds": "0+60x90"}, 30, None),
    ),
    "ShelfwiseModelNotTaken": (
        (
            {
                TRAINED: "100x90",
                'shelfwise_model_info{version="a"}': "1x90",
                'shelfwise_model_info{version="b"}': "0x90",
                UP % "serving": "1x90",
            },
            30,
            {"version": "b"},
        ),
        ({TRAINED: "100x90", UP % "serving": "1x90"}, 30, {"version": "b"}),
        ({TRAINED: "100x90", 'shelfwise_model_info{version="b"}': "1x90", UP % "serving": "1x90"}, 30, None),
    ),
    "ShelfwiseRulesRefused": (
        ({"shelfwise_rules_refused": "1x90"}, 30, {}),
        ({"shelfwise_rules_refused": "0x90"}, 30, None),
    ),
    "ShelfwiseExperimentsRefused": (
        ({"shelfwise_experiments_refused": "1x90"}, 30, {}),
        ({"shelfwise_experiments_refused": "0x90"}, 30, None),
    ),
    "ShelfwiseAnswersLost": (
        ({"shelfwise_answers_lost_total": "0+2x90", "shelfwise_answers_logged_total": "0+100x90"}, 30, {}),
        ({"shelfwise_answers_lost_total": "0x90", "shelfwise_answers_logged_total": "0+100x90"}, 30, None),
        ({"shelfwise_answers_lost_total": "0+9x10 90x80", "shelfwise_answers_logged_total": "0+1x90"}, 60, None),
    ),
    "ShelfwiseOtherAlarm": (
        ({'shelfwise_alarm{check="new",subject="x"}': "1x90"}, 30, {"check": "new", "subject": "x"}),
        ({'shelfwise_alarm{check="new",subject="x"}': "0x90"}, 30, None),
    ),
}


def rule_tests() -> Iterator[dict[str, Any]]:
    """Each case, with all that is firing then: the alarm, and nothing but it."""
    severities = {rule["alert"]: rule["labels"]["severity"] for rule in alerts()}
    for alert, cases in CASES.items():
        for series, minute, labels in cases:
            samples = []
            if labels is not None:
                given = {"alertname": alert, "alertstate": "firing", "severity": severities[alert], **labels}
                text = ", ".join(f'{name}="{value}"' for name, value in given.items())
                samples = [{"labels": f"ALERTS{{{text}}}", "value": 1}]
            question = {"expr": 'ALERTS{alertstate="firing"}', "eval_time": f"{minute}m", "exp_samples": samples}
            yield {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [question],
            }


def test_every_alert_is_tried_firing_and_not_firing() -> None:
    assert set(CASES) == {rule["alert"] for rule in alerts()}
    for cases in CASES.values():
        assert {labels is None for _, _, labels in cases} == {True, False}


def promtool(*arguments: str) -> None:
    assert PROMTOOL
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_the_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    tests = tmp_path / "alerts.test.yml"
    tests.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": list(rule_tests())}))
    promtool("test", "rules", str(tests))


@needs_promtool
def test_rules_and_configuration_are_valid() -> None:
    promtool("check", "rules", str(RULES))
    promtool("check", "config", str(MONITORING / "prometheus.yml"))
    promtool("check", "config", str(MONITORING / "prometheus.compose.yml"))


@needs_promtool
def test_every_query_of_the_dashboard_can_be_parsed(tmp_path: Path) -> None:
    """Prometheus checks rules without a server, so each query becomes one."""
    queries = [target["expr"] for panel in panels() for target in panel.get("targets", [])]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    wrapped = tmp_path / "queries.yml"
    wrapped.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(wrapped))
