import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import * as z from "zod";
import { readConfig, variables } from "../../gpu-worker/config.ts";
import { Metrics } from "../../gpu-worker/serve/metrics.ts";
import { startServer } from "../../gpu-worker/serve/server.ts";
import { ROOT } from "../../scripts/paths.ts";
import { IDLE } from "../../shared/engine.ts";
import { readYaml } from "../helpers/yaml.ts";

/** The manifests against the fields of Kubernetes' API that they use, and against what the gpu-worker has. */

const DIR = join(ROOT, "deploy", "kubernetes");
const read = (file: string) => readYaml(readFileSync(join(DIR, file), "utf8"));

const name = z.string().regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/);
const labels = z.record(z.string(), z.string().max(63));
const metadata = z.strictObject({ name, labels: labels.optional() });
const selector = z.strictObject({ matchLabels: labels });
const port = z.int().min(1).max(65_535);
const quantity = z.string().regex(/^\d+(\.\d+)?(m|[KMGT]i?)?$/);
const seconds = z.int().min(1);
const resource = z.strictObject({ cpu: quantity.optional(), memory: quantity.optional() });
const probe = z.strictObject({
  httpGet: z.strictObject({ path: z.string().startsWith("/"), port: z.string() }),
  periodSeconds: seconds.optional(),
  timeoutSeconds: seconds.optional(),
  failureThreshold: z.int().min(1).optional(),
});
const env = z.union([
  z.strictObject({ name: z.string(), value: z.string() }),
  z.strictObject({
    name: z.string(),
    valueFrom: z.strictObject({ secretKeyRef: z.strictObject({ name, key: z.string() }) }),
  }),
]);

const Deployment = z.strictObject({
  apiVersion: z.literal("apps/v1"),
  kind: z.literal("Deployment"),
  metadata,
  spec: z.strictObject({
    selector,
    strategy: z.strictObject({
      type: z.literal("RollingUpdate"),
      rollingUpdate: z.strictObject({ maxUnavailable: z.int().min(0), maxSurge: z.int().min(0) }),
    }),
    template: z.strictObject({
      metadata: z.strictObject({ labels, annotations: z.record(z.string(), z.string()) }),
      spec: z.strictObject({
        terminationGracePeriodSeconds: z.int().min(0),
        securityContext: z.strictObject({
          runAsNonRoot: z.boolean(),
          runAsUser: z.int().min(1),
          seccompProfile: z.strictObject({ type: z.literal("RuntimeDefault") }),
        }),
        containers: z.tuple([
          z.strictObject({
            name,
            image: z.string(),
            ports: z.tuple([z.strictObject({ name: name.max(15), containerPort: port })]),
            env: z.array(env),
            startupProbe: probe,
            readinessProbe: probe,
            livenessProbe: probe,
            resources: z.strictObject({ requests: resource, limits: resource }),
            securityContext: z.strictObject({
              allowPrivilegeEscalation: z.boolean(),
              capabilities: z.strictObject({ drop: z.array(z.string()) }),
            }),
          }),
        ]),
      }),
    }),
  }),
});

const Service = z.strictObject({
  apiVersion: z.literal("v1"),
  kind: z.literal("Service"),
  metadata,
  spec: z.strictObject({
    selector: labels,
    ports: z.tuple([z.strictObject({ name, port, targetPort: z.string() })]),
  }),
});

const PodDisruptionBudget = z.strictObject({
  apiVersion: z.literal("policy/v1"),
  kind: z.literal("PodDisruptionBudget"),
  metadata,
  spec: z.strictObject({ maxUnavailable: z.int().min(1), selector }),
});

const HorizontalPodAutoscaler = z.strictObject({
  apiVersion: z.literal("autoscaling/v2"),
  kind: z.literal("HorizontalPodAutoscaler"),
  metadata,
  spec: z.strictObject({
    scaleTargetRef: z.strictObject({ apiVersion: z.string(), kind: z.string(), name }),
    minReplicas: z.int().min(1),
    maxReplicas: z.int().min(1),
    metrics: z.tuple([
      z.strictObject({
        type: z.literal("Pods"),
        pods: z.strictObject({
          metric: z.strictObject({ name: z.string() }),
          target: z.strictObject({ type: z.literal("AverageValue"), averageValue: quantity }),
        }),
      }),
    ]),
    behavior: z.strictObject({ scaleDown: z.strictObject({ stabilizationWindowSeconds: z.int().min(0).max(3600) }) }),
  }),
});

const Kustomization = z.strictObject({
  apiVersion: z.literal("kustomize.config.k8s.io/v1beta1"),
  kind: z.literal("Kustomization"),
  resources: z.array(z.string()),
  labels: z.array(z.strictObject({ pairs: labels })),
  images: z.array(z.strictObject({ name: z.string(), newTag: z.string() })),
});

const deployment = () => Deployment.parse(read("deployment.yaml"));
const container = () => deployment().spec.template.spec.containers[0];

describe("the Kubernetes manifests", () => {
  test("are all named by the kustomization, which names no others", () => {
    const { resources, images } = Kustomization.parse(read("kustomization.yaml"));
    expect([...resources, "kustomization.yaml"].sort()).toEqual(readdirSync(DIR).sort());
    expect(images.map((image) => image.name)).toEqual([container().image]);
  });

  test("select the pods that the deployment makes", () => {
    const { template, selector: own } = deployment().spec;
    const chosen = own.matchLabels;
    expect(template.metadata.labels).toMatchObject(chosen);
    expect(Service.parse(read("service.yaml")).spec.selector).toEqual(chosen);
    expect(PodDisruptionBudget.parse(read("disruption-budget.yaml")).spec.selector.matchLabels).toEqual(chosen);
    const { scaleTargetRef, minReplicas, maxReplicas } = HorizontalPodAutoscaler.parse(read("autoscaler.yaml")).spec;
    const { apiVersion, kind } = deployment();
    expect(scaleTargetRef).toEqual({ apiVersion, kind, name: deployment().metadata.name });
    // One may go at a time and another must be left.
    expect(minReplicas).toBeGreaterThan(1);
    expect(maxReplicas).toBeGreaterThanOrEqual(minReplicas);
  });

  test("set variables that the gpu-worker knows, to values that it takes", () => {
    const given = Object.fromEntries(
      container().env.map((one) => [one.name, "value" in one ? one.value : "the secret's value"]),
    );
    expect(Object.keys(variables.shape)).toEqual(expect.arrayContaining(Object.keys(given)));
    const config = readConfig(given);
    expect(config.port).toBe(container().ports[0].containerPort);
    expect(config.host).toBe("0.0.0.0");
    const { annotations } = deployment().spec.template.metadata;
    expect(annotations["prometheus.io/port"]).toBe(String(config.port));
  });

  test("name one port alike, and have room for the cache", () => {
    const { ports, startupProbe, readinessProbe, livenessProbe, resources } = container();
    const [{ targetPort, port: served }] = Service.parse(read("service.yaml")).spec.ports;
    const named = [startupProbe, readinessProbe, livenessProbe].map(({ httpGet }) => httpGet.port);
    expect(new Set([...named, targetPort])).toEqual(new Set([ports[0].name]));
    expect(served).toBe(ports[0].containerPort);
    const kv = container().env.find((one) => one.name === "GPU_WORKER_KV_MIB");
    const kvMib = kv !== undefined && "value" in kv ? Number(kv.value) : Number.NaN;
    expect(kvMib).toBeLessThan(1024 * Number.parseInt(resources.requests.memory ?? "", 10));
  });

  test("ask for paths that the gpu-worker answers", async () => {
    const server = await startServer({ host: "127.0.0.1", port: 0, key: "a key of the tests' own" });
    try {
      const { startupProbe, readinessProbe, livenessProbe } = container();
      const status = async (path: string) => (await fetch(server.url + path)).status;
      expect(await status(livenessProbe.httpGet.path)).toBe(200);
      // Alive, with no model yet.
      expect(await status(readinessProbe.httpGet.path)).toBe(503);
      expect(await status(startupProbe.httpGet.path)).toBe(503);
      const { annotations } = deployment().spec.template.metadata;
      expect(await status(annotations["prometheus.io/path"] ?? "")).toBe(200);
    } finally {
      await server.close(0);
    }
  });

  test("scale by a gauge that the gpu-worker has", () => {
    const [{ pods }] = HorizontalPodAutoscaler.parse(read("autoscaler.yaml")).spec.metrics;
    expect(new Metrics(() => IDLE).registry.getSingleMetric(pods.metric.name)).toBeDefined();
  });
});
