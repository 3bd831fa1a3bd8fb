"""The alerts by promtool; and that /metrics exports whatever alerts and dashboard ask for."""

import json
import re
import shutil
import urllib.request

import yaml
from world import DEPLOY, STATIC, DeployTest, ports, run

# What Prometheus and its blackbox exporter say of a target.
NOT_OURS = {"up": set(), "probe_success": set()}
# Labels of every target.
OF_TARGETS = {"job", "instance"}

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
FUNCTIONS = {"sum", "min", "max", "by", "or", "unless", "absent", "rate", "increase", "time", "histogram_quantile"}


def alerts():
    groups = yaml.safe_load((DEPLOY / "prometheus/alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard():
    return json.loads((DEPLOY / "grafana/authrelay.json").read_text())


def queries():
    """Every query, with the labels that its text around it names."""
    for rule in alerts():
        texts = " ".join(rule["annotations"].values())
        yield rule["expr"], set(re.findall(r"\$labels\.(\w+)", texts))
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            yield target["expr"], set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()
            yield f"sum by ({label}) ({metric})", set()


def named(query):
    """The metrics of a query, each with its matchers; and the labels by which it groups."""
    grouped = {label.strip() for labels in re.findall(r"by \(([^)]*)\)", query) for label in labels.split(",")}
    bare = re.sub(r"by \([^)]*\)|\[[^\]]*\]", " ", query)
    metrics = []
    for name, selector in re.findall(rf"({NAME})(?:{{([^}}]*)}})?", re.sub(r'"[^"]*"', quoted, bare)):
        if name not in FUNCTIONS:
            metrics.append((name, re.findall(r'(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)"', unquoted(selector))))
    return metrics, grouped


# Braces and names within strings are none.
def quoted(match):
    return '"' + match[0][1:-1].encode().hex() + '"'


def unquoted(text):
    return re.sub(r'"([0-9a-f]*)"', lambda match: '"' + bytes.fromhex(match[1]).decode() + '"', text)


class Alerts(DeployTest):
    def test_each_alert_fires_when_it_should_and_is_quiet_otherwise(self):
        run("promtool", "check", "rules", DEPLOY / "prometheus/alerts.yaml")
        for file in (DEPLOY / "prometheus/alerts.yaml", DEPLOY.parent / "tests/deploy/alerts_test.yaml"):
            shutil.copy(file, self.folder)
        run("promtool", "test", "rules", self.folder / "alerts_test.yaml")
        cases = yaml.safe_load((self.folder / "alerts_test.yaml").read_text())["tests"]
        tried = [check for case in cases for check in case["alert_rule_test"]]
        names = {rule["alert"] for rule in alerts()}
        self.assertEqual({check["alertname"] for check in tried if check.get("exp_alerts")}, names)
        self.assertEqual({check["alertname"] for check in tried if not check.get("exp_alerts")}, names)


class Exported(DeployTest):
    def metrics(self):
        """The labels' values of each series, by name, of a relay that has just started."""
        service = self.emulation()
        (self.folder / "ca.pem").write_bytes(service.ca)
        configuration = service.fill((DEPLOY / "debian/proxy.yaml").read_text(), str(self.folder / "ca.pem"))
        # A store that is away: what is counted of it is there all the same.
        store = {"url": "redis://127.0.0.1:1"}
        configuration["state"] = {"directory": str(self.folder / "state"), "key": "k" * 32, "store": store}
        # And audit records whose heads are signed.
        sign = self.folder / "sign.pem"
        run("openssl", "genpkey", "-algorithm", "ed25519", "-out", sign)
        configuration["audit"] = {"path": str(self.folder / "audit.jsonl"), "sign": {"key": {"file": str(sign)}}}
        for registration in configuration["registrations"].values():
            registration.update(client_secret="secret", client_secret_expires="2027-05-01")
        for account in configuration["accounts"]:
            account["password"] = "password"
        file = self.folder / "proxy.yaml"
        file.write_text(json.dumps(configuration))
        relay = self.start("authrelay", [STATIC, "run", "--config", file])
        with urllib.request.urlopen(f"http://127.0.0.1:{ports(relay, 3)['admin']}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        series = {}
        for line in lines:
            if not line.startswith("#"):
                name, labels = re.match(rf"({NAME})(?:{{(.*)}})? ", line).groups()
                series.setdefault(name, []).append(dict(re.findall(r'(\w+)="([^"]*)"', labels or "")))
        return series

    def test_every_metric_that_is_asked_for(self):
        exported = self.metrics()
        asked = set()
        for query, mentioned in queries():
            metrics, grouped = named(query)
            self.assertTrue(metrics, query)
            known = set(OF_TARGETS)
            for name, matchers in metrics:
                asked.add(name)
                if name in NOT_OURS:
                    self.assertLessEqual({label for label, _, _ in matchers}, OF_TARGETS, query)
                    continue
                self.assertIn(name, exported, query)
                labels = set().union(*exported[name])
                known |= labels
                ours = [matcher for matcher in matchers if matcher[0] not in OF_TARGETS]
                for label, _, _ in ours:
                    self.assertIn(label, labels, query)
                # Some series is selected: no value that never comes.
                for label, operator, value in ours:
                    for wanted in value.split("|") if operator == "=~" else [value]:
                        self.assertIn(wanted, {one[label] for one in exported[name]}, query)
                wanted = {label: value for label, operator, value in ours if operator == "="}
                self.assertTrue([one for one in exported[name] if wanted.items() <= one.items()], query)
            self.assertLessEqual(grouped | mentioned, known, query)
        # The other way round: what is exported can be seen.
        families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported}
        seen = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
        self.assertEqual(families - seen, set())

    def test_the_dashboards_queries_are_promql(self):
        expressions = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
        rules = [
            {"record": f"panel:query:{number}", "expr": expression.replace("$__rate_interval", "5m")}
            for number, expression in enumerate(expressions)
        ]
        file = self.folder / "dashboard.yaml"
        file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
        self.assertIn(f"{len(expressions)} rules found", run("promtool", "check", "rules", file))
