"""The Helm chart, rendered by Helm: valid by schemas, true to the manifests, and without a secret."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tarfile
import tomllib

import kubernetes_validate
import yaml
from test_manifests import RESTRICTED, VERSIONS, paths, port
from world import DEPLOY, HELM, NODE_MODULES, STATIC, TREE, DeployTest, run

CHART = DEPLOY / "helm/authrelay"
EXAMPLES = CHART / "examples"
HERE = pathlib.Path(__file__).parent

# Each case's values: files of examples/.
CASES = {
    "minimum": ["client-credentials"],
    "one relay with consents": ["consent"],
    "several relays": ["several-relays"],
    "text": ["text"],
    "monitored": ["several-relays", "monitoring"],
    "external secret": ["client-credentials", "external-secret"],
    "secrets store": ["client-credentials", "secrets-store-csi"],
}
CUSTOM = ("monitoring.coreos.com/v1", "external-secrets.io/v1", "secrets-store.csi.x-k8s.io/v1")
RUNBOOKS = "https://docs.example.com/authrelay"


def by_kind(documents):
    found = {}
    for document in documents:
        found.setdefault(document["kind"], []).append(document)
    return found


def workload(documents):
    """The one Deployment or StatefulSet."""
    (one,) = [document for document in documents if document["kind"] in ("Deployment", "StatefulSet")]
    return one


def proxy_yaml(documents):
    (text,) = [document["data"]["proxy.yaml"] for document in documents if "proxy.yaml" in document.get("data", {})]
    return text


class ChartTest(DeployTest):
    def helm(self, *arguments):
        """What Helm did, with a home of its own and no cluster."""
        home = {f"HELM_{name}_HOME": str(self.folder / "helm") for name in ("CACHE", "CONFIG", "DATA")}
        environment = {**os.environ, **home, "KUBECONFIG": "/dev/null"}
        command = [str(word) for word in (HELM, *arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=False, env=environment
        )

    def values(self, files, values):
        arguments = [word for file in files for word in ("--values", EXAMPLES / f"{file}.yaml")]
        if values:
            number = len(list(self.folder.glob("values-*")))
            more = self.folder / f"values-{number}.yaml"
            more.write_text(json.dumps(values))
            arguments += ["--values", more]
        return arguments

    def render(self, files=("client-credentials",), values=None, chart=CHART):
        """The chart's documents."""
        done = self.helm("template", "relay", chart, "--namespace", "mail", *self.values(files, values))
        self.assertEqual(done.returncode, 0, done.stderr)
        return [document for document in yaml.safe_load_all(done.stdout) if document]

    def refused(self, values, says, files=("client-credentials",)):
        done = self.helm("template", "relay", CHART, "--namespace", "mail", *self.values(files, values))
        self.assertNotEqual(done.returncode, 0, f"{values}: {done.stdout}")
        self.assertRegex(done.stderr, says, values)
        self.assertNotIn("kind:", done.stdout)

    def sidecar(self):
        """The example's chart, which has this one as a dependency."""
        chart = self.folder / "helpdesk"
        shutil.copytree(EXAMPLES / "sidecar", chart)
        file = chart / "Chart.yaml"
        file.write_text(file.read_text().replace("file://../..", f"file://{CHART}"))
        done = self.helm("dependency", "build", chart)
        self.assertEqual(done.returncode, 0, done.stderr)
        return chart

    def cases(self):
        for name, files in CASES.items():
            yield name, self.render(files)
        yield "sidecar", self.render(files=(), chart=self.sidecar())


class Chart(ChartTest):
    def test_valid_by_schemas(self):
        custom = []
        for name, documents in self.cases():
            for document in documents:
                if document["apiVersion"] in CUSTOM:
                    custom.append(document)
                    continue
                for version in VERSIONS:
                    with self.subTest(name=name, kind=document["kind"], version=version):
                        kubernetes_validate.validate(document, version, strict=True)
        kinds = {document["kind"] for document in custom}
        known = {"ServiceMonitor", "Probe", "PrometheusRule", "ExternalSecret", "SecretProviderClass"}
        self.assertEqual(kinds, known)
        # The driver publishes no types; its shape is checked below.
        models = [document for document in custom if document["kind"] != "SecretProviderClass"]
        environment = {**os.environ, "NODE_MODULES": str(NODE_MODULES)}
        run("node", HERE / "crds.mjs", input=json.dumps(models), env=environment)
        (monitor,) = [document for document in models if document["kind"] == "ServiceMonitor"]
        monitor["spec"]["endpoints"] = "admin"
        with self.assertRaises(AssertionError):
            run("node", HERE / "crds.mjs", input=json.dumps(models), env=environment)

    def test_lint_finds_nothing_and_the_package_is_whole(self):
        for files in CASES.values():
            done = self.helm("lint", "--strict", CHART, *self.values(files, None))
            self.assertEqual(done.returncode, 0, done.stdout)
        done = self.helm("package", CHART, "--destination", self.folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        (package,) = self.folder.glob("authrelay-*.tgz")
        with tarfile.open(package) as archive:
            names = archive.getnames()
            self.assertFalse([member for member in archive.getmembers() if member.issym()])
            for shipped, source in (
                ("alerts.yaml", "prometheus/alerts.yaml"),
                ("dashboard.json", "grafana/authrelay.json"),
            ):
                packed = archive.extractfile(f"authrelay/files/{shipped}").read()
                self.assertEqual(packed, (DEPLOY / source).read_bytes())
        self.assertFalse([name for name in names if "example" in name])
        done = self.helm("template", "relay", package, *self.values(CASES["monitored"], None))
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_the_version_is_the_programs(self):
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
        program = tomllib.loads((TREE / "Cargo.toml").read_text())["package"]
        self.assertEqual(chart["version"], program["version"])
        self.assertEqual(chart["appVersion"], program["version"])
        example = yaml.safe_load((EXAMPLES / "sidecar/Chart.yaml").read_text())
        self.assertEqual(example["dependencies"][0]["version"], program["version"])

    def test_configurations_are_taken(self):
        for name, documents in self.cases():
            with self.subTest(name=name):
                file = self.folder / "proxy.yaml"
                file.write_text(proxy_yaml(documents))
                self.assertNotIn("warning", run(STATIC, "check", "--no-secrets", "--config", file))
                self.assertEqual(yaml.safe_load(file.read_text())["reload"], "watch")

    def test_text_stays_as_it_is(self):
        text = yaml.safe_load((EXAMPLES / "text.yaml").read_text())["configText"]
        self.assertEqual(proxy_yaml(self.render(["text"])).rstrip(), text.rstrip())

    def test_large_numbers_stay_numbers(self):
        limits = {"sessions": 1000000, "sessions_per_client": 12345678 // 100}
        text = proxy_yaml(self.render(values={"config": {"limits": limits}}))
        self.assertIn("sessions: 1000000\n", text)
        self.assertEqual(yaml.safe_load(text)["limits"], {**limits, "drain_timeout": "30s"})

    def test_a_reference_takes_the_place_of_the_charts(self):
        config = {"admin": {"token": {"env": "ADMIN"}}, "state": {"key": {"env": "KEY"}}}
        configuration = yaml.safe_load(proxy_yaml(self.render(values={"config": config})))
        self.assertEqual(configuration["admin"]["token"], {"env": "ADMIN"})
        self.assertEqual(configuration["state"]["key"], {"env": "KEY"})
        store = {"state": {"store": {"url": {"env": "STORE"}, "ca": "/etc/store/ca.pem"}}}
        network = {"store": {"to": [{"ipBlock": {"cidr": "10.0.0.10/32"}}]}}
        shared = {"config": store, "state": {"kind": "shared"}, "networkPolicy": network}
        configuration = yaml.safe_load(proxy_yaml(self.render(values=shared)))
        self.assertEqual(configuration["state"]["store"], {"url": {"env": "STORE"}, "ca": "/etc/store/ca.pem"})

    def test_notes_say_what_comes_next(self):
        def notes(*files):
            arguments = self.values(files, None)
            done = self.helm("install", "relay", CHART, "--dry-run=client", "--namespace", "mail", *arguments)
            self.assertEqual(done.returncode, 0, done.stderr)
            return done.stdout.partition("NOTES:")[2]

        text = notes("consent")
        self.assertIn("deployment/relay-authrelay --container authrelay -- /authrelay authorize info@contoso.com", text)
        self.assertIn("/authrelay doctor info@contoso.com", text)
        text = notes("several-relays")
        self.assertIn("statefulset/relay-authrelay", text)
        self.assertNotIn("authorize", notes("client-credentials"))


class Pods(ChartTest):
    def test_every_container_is_restricted(self):
        for name, documents in self.cases():
            pod = workload(documents)["spec"]["template"]["spec"]
            for container in pod.get("initContainers", []) + pod["containers"]:
                context = {**pod["securityContext"], **container["securityContext"]}
                with self.subTest(name=name, container=container["name"]):
                    self.assertEqual({key: context.get(key) for key in RESTRICTED}, RESTRICTED)
                    self.assertGreater(context["runAsUser"], 0)
            self.assertFalse(pod["automountServiceAccountToken"])
            self.assertEqual(pod["securityContext"]["fsGroup"], 65532)
            self.assertEqual(pod["securityContext"]["fsGroupChangePolicy"], "OnRootMismatch")

    def test_files_ports_and_times_are_those_of_the_configuration(self):
        for name, documents in self.cases():
            with self.subTest(name=name):
                configuration = yaml.safe_load(proxy_yaml(documents))
                pod = workload(documents)["spec"]["template"]["spec"]
                relays = [one for one in pod.get("initContainers", []) + pod["containers"] if one["name"] == "authrelay"]
                (relay,) = relays
                mounts = {mount["mountPath"] for mount in relay["volumeMounts"]}
                for path in paths(configuration):
                    # Workload identity mounts its own.
                    if not path.startswith("/var/run/secrets/azure/"):
                        self.assertIn(str(pathlib.PurePath(path).parent), mounts)
                reachable = {
                    item["name"]: port(item["bind"])
                    for item in [*configuration["listeners"], {"name": "admin", **configuration["admin"]}]
                    if not item["bind"].startswith("127.")
                }
                self.assertEqual({item["name"]: item["containerPort"] for item in relay["ports"]}, reachable)
                pause = relay.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
                drain = {"30s": 30, "1m 30s": 90}[configuration["limits"]["drain_timeout"]]
                self.assertGreater(pod["terminationGracePeriodSeconds"], pause + drain + 1)
                for probe in ("startupProbe", "livenessProbe"):
                    self.assertEqual(relay[probe]["httpGet"]["port"], "admin")
                    self.assertEqual(relay[probe]["httpGet"]["scheme"], "HTTPS")
                for service in by_kind(documents).get("Service", []):
                    if service["metadata"]["labels"]["authrelay.service"] == "clients":
                        self.assertEqual({item["targetPort"] for item in service["spec"]["ports"]}, set(reachable))

    def test_the_pod_is_that_of_the_manifest(self):
        """What deploy/kubernetes and the chart give to a relay is the same."""
        written = yaml.safe_load_all((DEPLOY / "kubernetes/standalone.yaml").read_text())
        (manifest,) = [document for document in written if document["kind"] == "Deployment"]
        manifest = manifest["spec"]["template"]["spec"]
        pod = workload(self.render())["spec"]["template"]["spec"]
        for key in ("automountServiceAccountToken", "enableServiceLinks", "securityContext"):
            self.assertEqual(pod[key], manifest[key], key)
        (theirs,), (ours,) = manifest["containers"], pod["containers"]
        for key in ("ports", "startupProbe", "readinessProbe", "livenessProbe", "lifecycle", "resources", "volumeMounts"):
            self.assertEqual(ours[key], theirs[key], key)

    def test_updates_fit_what_is_stored(self):
        plain = workload(self.render())
        self.assertEqual(plain["kind"], "Deployment")
        self.assertEqual(plain["spec"]["strategy"]["rollingUpdate"], {"maxUnavailable": 0, "maxSurge": 1})
        documents = self.render(["consent"])
        one = workload(documents)
        self.assertEqual((one["spec"]["replicas"], one["spec"]["strategy"]), (1, {"type": "Recreate"}))
        (claim,) = by_kind(documents)["PersistentVolumeClaim"]
        (state,) = [volume for volume in one["spec"]["template"]["spec"]["volumes"] if volume["name"] == "state"]
        self.assertEqual(state["persistentVolumeClaim"]["claimName"], claim["metadata"]["name"])
        self.assertNotIn("PodDisruptionBudget", by_kind(documents), "one relay must not hold up a node's drain")
        documents = self.render(["several-relays"])
        several = workload(documents)
        self.assertEqual((several["kind"], several["spec"]["updateStrategy"]), ("StatefulSet", {"type": "RollingUpdate"}))
        self.assertEqual(several["spec"]["volumeClaimTemplates"][0]["metadata"]["name"], "state")
        services = [service["metadata"]["name"] for service in by_kind(documents)["Service"]]
        self.assertIn(several["spec"]["serviceName"], services)
        (budget,) = by_kind(documents)["PodDisruptionBudget"]
        self.assertEqual(budget["spec"]["selector"], several["spec"]["selector"])
        pod = several["spec"]["template"]["spec"]
        spread = {constraint["topologyKey"] for constraint in pod["topologySpreadConstraints"]}
        self.assertEqual(spread, {"kubernetes.io/hostname", "topology.kubernetes.io/zone"})
        self.assertEqual(pod["containers"][0]["args"], ["run", "--confine", "--name", "$(POD_NAME)"])

    def test_a_restart_with_the_configuration_where_asked_for(self):
        def annotations(values):
            return workload(self.render(values=values))["spec"]["template"]["metadata"].get("annotations")

        self.assertIsNone(annotations({}))
        once = annotations({"restartOnConfigChange": True})
        other = annotations({"restartOnConfigChange": True, "config": {"log": {"level": "debug"}}})
        self.assertNotEqual(once, other)

    def test_egress_is_dns_and_the_services_ports(self):
        for files in (["client-credentials"], ["several-relays"]):
            (policy,) = by_kind(self.render(files))["NetworkPolicy"]
            dns, services, *store = policy["spec"]["egress"]
            self.assertEqual({item["port"] for item in dns["ports"]}, {53})
            self.assertEqual({item["port"] for item in services["ports"]}, {443, 587, 993, 995})
            self.assertTrue(all("10.0.0.0/8" in str(peer) or "fc00::/7" in str(peer) for peer in services["to"]))
            self.assertEqual([rule["ports"][0]["port"] for rule in store], [6380] if "several-relays" in files else [])

    def test_a_native_sidecar(self):
        documents = self.render(files=(), chart=self.sidecar())
        self.assertEqual(set(by_kind(documents)), {"ConfigMap", "Deployment"})
        pod = workload(documents)["spec"]["template"]["spec"]
        (relay,) = pod["initContainers"]
        self.assertEqual(relay["restartPolicy"], "Always")
        self.assertEqual([volume["name"] for volume in pod["volumes"] if not volume["name"].startswith("authrelay-")], [])
        for listener in yaml.safe_load(proxy_yaml(documents))["listeners"]:
            self.assertTrue(listener["bind"].startswith("127.0.0.1:"))


class Secrets(ChartTest):
    def places(self, schema, at=()):
        """The path of every key that may be a secret, by the program's own schema."""
        kinds = [schema]
        for kind in kinds:
            kinds += kind.get("anyOf", [])
        references = [kind for kind in kinds if {"env", "file"} <= set(kind.get("properties", {}))]
        if references and any("string" in kind.get("type", ()) for kind in kinds):
            yield at
            return
        for kind in kinds:
            for name, inner in kind.get("properties", {}).items():
                yield from self.places(inner, (*at, name))
            for key, step in (("additionalProperties", "NAME"), ("items", 0)):
                if isinstance(kind.get(key), dict):
                    yield from self.places(kind[key], (*at, step))

    def test_a_literal_secret_is_refused_wherever_one_may_stand(self):
        places = set(self.places(json.loads(run(STATIC, "schema"))))
        self.assertGreater(len(places), 12, places)
        whole = yaml.safe_load(proxy_yaml(self.render()))
        whole["registrations"]["NAME"] = whole["registrations"]["helpdesk"]
        for place in sorted(places, key=str):
            for literal in ("hunter2-hunter2-hunter2", 1234567890):
                configuration = json.loads(json.dumps(whole))
                self.put(configuration, place, literal)
                with self.subTest(place=place):
                    self.refused({"config": {}, "configText": json.dumps(configuration)}, "a secret does not belong", files=())

    def put(self, at, place, value):
        """Sets a place within maps and lists, which are made where they are absent."""
        for step, after in zip(place, (*place[1:], None)):
            empty = value if after is None else ([] if after == 0 else {})
            if step == 0:
                if not at:
                    at.append(empty)
                elif after is None:
                    at[0] = value
            elif after is None or not isinstance(at.get(step), (dict, list)):
                at[step] = empty
            at = at[step]

    def test_hashes_and_any_are_taken(self):
        for password in ("any", "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA"):
            accounts = [{"login": "a@contoso.com", "registration": "helpdesk", "password": password}]
            self.assertIn(password, proxy_yaml(self.render(values={"config": {"accounts": accounts}})))

    def test_secrets_are_references(self):
        for files in CASES.values():
            documents = self.render(files)
            self.assertNotIn("Secret", by_kind(documents))
            pod = workload(documents)["spec"]["template"]["spec"]
            secrets = {volume["name"]: volume["secret"] for volume in pod["volumes"] if "secret" in volume}
            self.assertEqual({name: one["secretName"] for name, one in secrets.items()}, {"secrets": "authrelay", "tls": "authrelay-tls"})
            self.assertEqual({one["defaultMode"] for one in secrets.values()}, {0o400})

    def test_the_drivers_class_makes_the_secret_that_is_mounted(self):
        documents = self.render(CASES["secrets store"])
        (provider,) = by_kind(documents)["SecretProviderClass"]
        (made,) = provider["spec"]["secretObjects"]
        pod = workload(documents)["spec"]["template"]["spec"]
        (mounted,) = [volume["secret"]["secretName"] for volume in pod["volumes"] if volume["name"] == "secrets"]
        self.assertEqual(made["secretName"], mounted)
        configuration = yaml.safe_load(proxy_yaml(documents))
        needed = {path.rpartition("/")[2] for path in paths(configuration) if path.startswith("/run/secrets/authrelay/")}
        self.assertEqual({item["key"] for item in made["data"]}, needed)
        objects = set(re.findall(r"objectName: (\S+)", provider["spec"]["parameters"]["objects"]))
        self.assertEqual({item["objectName"] for item in made["data"]}, objects)
        (volume,) = [volume["csi"] for volume in pod["volumes"] if "csi" in volume]
        self.assertEqual(volume["volumeAttributes"]["secretProviderClass"], provider["metadata"]["name"])
        (external,) = by_kind(self.render(CASES["external secret"]))["ExternalSecret"]
        self.assertEqual(external["spec"]["target"]["name"], mounted)
        self.assertEqual({item["secretKey"] for item in external["spec"]["data"]}, needed)


class Refused(ChartTest):
    def test_values_that_the_schema_does_not_know(self):
        for values in (
            {"replica": 2},
            {"replicas": "two"},
            {"replicas": -1},
            {"mode": "daemonset"},
            {"image": {"repository": ""}},
            {"image": {"digest": "sha256:short"}},
            {"config": {"listener": []}},
            {"config": {"accounts": {}}},
            {"config": {"reload": "always"}},
            {"state": {"kind": "redis"}},
            {"state": {"size": "a lot"}},
            {"secrets": {"name": "Not A Name"}},
            {"secrets": {"password": "hunter2"}},
            {"service": {"ports": {"imap": 99999}}},
            {"networkPolicy": {"ports": []}},
            {"networkPolicy": {"except": {"v4": ["fc00::/7"]}}},
            {"monitoring": {"rules": {"runbookBase": "wiki"}}},
            {"preStopSeconds": "5s"},
        ):
            with self.subTest(values=values):
                self.refused(values, "values don't meet the specifications of the schema")
        top = set(json.loads((CHART / "values.schema.json").read_text())["properties"])
        self.assertEqual(top - {"global"}, set(yaml.safe_load((CHART / "values.yaml").read_text())))

    def test_its_keys_of_proxy_yaml_are_the_programs(self):
        schema = json.loads((CHART / "values.schema.json").read_text())
        program = json.loads(run(STATIC, "schema"))
        self.assertEqual(set(schema["properties"]["config"]["properties"]), set(program["properties"]))

    def test_values_that_contradict_each_other(self):
        consent = {"registrations": {"helpdesk": {"grant": "device_code"}}}
        for values, says in (
            ({"config": consent}, "registrations.helpdesk: its consents are lost with the pod"),
            ({"replicas": 2, "state": {"kind": "claim"}}, "one relay only"),
            ({"state": {"kind": "shared"}}, "networkPolicy.store.to"),
            ({"config": {"admin": {"bind": "127.0.0.1:8025"}}}, "cannot be loopback"),
            ({"config": {"limits": {"drain_timeout": "soon"}}}, "no time that the chart can read"),
            ({"configText": "listeners: []"}, "set one of them"),
            ({"mode": "sidecar", "replicas": 1, "state": {"kind": "claim"}}, "existingClaim"),
            ({"mode": "sidecar", "monitoring": {"serviceMonitor": {"enabled": True}}}, "PodMonitor"),
            ({"secrets": {"externalSecret": {"enabled": True}}}, "store.name is required"),
        ):
            with self.subTest(says=says):
                self.refused(values, re.escape(says))
        self.refused({}, "registrations and accounts are required", files=())


class Monitoring(ChartTest):
    def setUp(self):
        super().setUp()
        self.found = by_kind(self.render(["several-relays", "monitoring"], {"replicas": 3}))

    def test_the_alerts_are_those_of_prometheus(self):
        (rule,) = self.found["PrometheusRule"]
        text = (DEPLOY / "prometheus/alerts.yaml").read_text()
        self.assertIn("(authrelay_relays) < 2", text)
        text = text.replace(RUNBOOKS, "https://wiki.example.com/authrelay")
        text = text.replace("(authrelay_relays) < 2", "(authrelay_relays) < 3")
        self.assertEqual(rule["spec"], yaml.safe_load(text))
        file = self.folder / "rules.yaml"
        file.write_text(json.dumps(rule["spec"]))
        run("promtool", "check", "rules", file)

    def test_the_dashboard_is_grafanas(self):
        (dashboard,) = [one for one in self.found["ConfigMap"] if one["metadata"]["name"].endswith("-dashboard")]
        source = (DEPLOY / "grafana/authrelay.json").read_text()
        self.assertEqual(json.loads(dashboard["data"]["authrelay.json"]), json.loads(source))
        self.assertEqual(dashboard["metadata"]["labels"]["grafana_dashboard"], "1")

    def test_jobs_are_those_of_the_alerts(self):
        alerts = (DEPLOY / "prometheus/alerts.yaml").read_text()
        jobs = set(re.findall(r'job="([^"]+)"', alerts))
        (monitor,) = self.found["ServiceMonitor"]
        (probe,) = self.found["Probe"]
        (endpoint,) = monitor["spec"]["endpoints"]
        named = {rule["replacement"] for rule in endpoint["relabelings"] if rule["targetLabel"] == "job"}
        self.assertEqual(named | {probe["spec"]["jobName"]}, jobs)
        # One Service is scraped, and not the headless one besides.
        labels = [service["metadata"]["labels"] for service in self.found["Service"]]
        selector = monitor["spec"]["selector"]["matchLabels"].items()
        self.assertEqual(len([one for one in labels if selector <= one.items()]), 1)


class Reload(ChartTest):
    def test_a_changed_configmap_is_taken_over(self):
        """As the kubelet puts it there: a link is turned to a new folder."""
        service = self.emulation()
        ca = self.folder / "ca.pem"
        ca.write_bytes(service.ca)
        configuration = service.fill(proxy_yaml(self.render()), str(ca))
        configuration["state"] = {"directory": str(self.folder / "state")}
        configuration["admin"] = {"bind": "127.0.0.1:0"}
        (registration,) = configuration["registrations"].values()
        registration.update(client_secret=service.registration["client_secret"])
        for listener in configuration["listeners"]:
            del listener["tls"]
        configuration["accounts"][0]["password"] = "a-local-password"
        mount = self.folder / "mount"
        mount.mkdir()

        def deliver(name):
            (mount / name).mkdir()
            (mount / name / "proxy.yaml").write_text(json.dumps(configuration))
            (mount / "..new").symlink_to(name)
            (mount / "..new").rename(mount / "..data")

        deliver("..first")
        (mount / "proxy.yaml").symlink_to("..data/proxy.yaml")
        relay = self.start("authrelay", [STATIC, "run", "--config", mount / "proxy.yaml"])
        relay.wait_for(r'^\{.*"admin listening".*\}$')
        configuration["log"] = {"format": "json", "level": "debug"}
        deliver("..second")
        relay.wait_for(r'^\{.*"configuration reloaded".*\}$')
