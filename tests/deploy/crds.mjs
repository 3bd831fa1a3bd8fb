// Checks custom resources by the types that their operators define: a JSON array of them on stdin.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(process.env.NODE_MODULES + "/");
const load = (name) => import(pathToFileURL(require.resolve.paths("x")[0] + "/" + name));
const places = {
  "monitoring.coreos.com/v1": "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/index.js",
  "external-secrets.io/v1": "@kubernetes-models/external-secrets/external-secrets.io/v1/index.js",
};
let text = "";
for await (const piece of process.stdin) text += piece;
for (const resource of JSON.parse(text)) {
  const models = await load(places[resource.apiVersion]);
  new models[resource.kind](resource).validate();
}
