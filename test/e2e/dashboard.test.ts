import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parser } from "@prometheus-io/lezer-promql";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { keyHash } from "../../scripts/edge-state.ts";
import { ROOT } from "../../scripts/paths.ts";
import { eventually, type Service, startService } from "./service.ts";

/** Every query of the Grafana dashboard, against the metrics that a real gpu-worker serves after real work. */

interface Dashboard {
  readonly panels: readonly {
    readonly title: string;
    readonly targets: readonly { readonly expr: string; readonly legendFormat: string }[];
  }[];
}

const FILE = join(ROOT, "deploy", "grafana", "foredraft.json");
const dashboard = JSON.parse(readFileSync(FILE, "utf8")) as Dashboard;
const queries = dashboard.panels.flatMap(({ title, targets }) =>
  targets.map(({ expr, legendFormat }) => ({ title, expr: expr.replaceAll(/\$__\w+/g, "5m"), legendFormat })),
);

let service: Service;
/** Labels of every metric, at the gpu-worker and through the edge. */
let direct: Map<string, Set<string>>;
let throughEdge: Map<string, Set<string>>;

beforeAll(async () => {
  service = await startService({ engine: "tiny", vars: { METRICS_KEYS: keyHash("m") } });
  const ask = { model: "tiny", prompt: "Once upon a time", max_tokens: 20, temperature: 0 };
  for (let i = 0; i < 2; i++) expect((await service.post("/v1/completions", ask)).status).toBe(200);
  // Counters by label have no sample before there is something to count.
  const socket = new WebSocket(`${service.gpuWorker.url.replace("http", "ws")}/v1/step`, {
    headers: { authorization: `Bearer ${service.gpuKey}` },
  });
  socket.on("open", () => socket.send("no frame"));
  await eventually(
    () => read(service.gpuWorker.url),
    (metrics) => metrics.has("foredraft_errors_total"),
  );
  direct = await read(service.gpuWorker.url);
  throughEdge = await read(service.url, { authorization: "Bearer m" });
});
afterAll(() => service?.close());

async function read(url: string, headers: Record<string, string> = {}): Promise<Map<string, Set<string>>> {
  const text = await (await fetch(`${url}/metrics`, { headers })).text();
  const labels = new Map<string, Set<string>>();
  for (const line of text.split("\n")) {
    const [, name, inBraces = ""] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? \S+$/.exec(line) ?? [];
    if (name === undefined) continue;
    const known = labels.get(name) ?? new Set();
    labels.set(name, known);
    for (const [, label = ""] of inBraces.matchAll(/(\w+)="/g)) known.add(label);
  }
  return labels;
}

/** Metrics and labels that a query names, by Prometheus' own grammar; null where it is no query. */
function namesOf(expr: string): { metrics: string[]; labels: string[] } | null {
  const metrics: string[] = [];
  const labels: string[] = [];
  let sound = true;
  parser.parse(expr).iterate({
    enter(node) {
      const text = expr.slice(node.from, node.to);
      if (node.type.isError) sound = false;
      else if (node.name === "LabelName") labels.push(text);
      else if (node.name === "Identifier" && node.node.parent?.name === "VectorSelector") metrics.push(text);
    },
  });
  return sound ? { metrics, labels } : null;
}

test("Prometheus' grammar finds the names in a query, and its mistakes", () => {
  const expr = 'sum by (code, le) (rate(a_total{kind="x"}[5m])) / b';
  expect(namesOf(expr)).toEqual({ metrics: ["a_total", "b"], labels: ["code", "le", "kind"] });
  expect(namesOf("sum(rate(a_total[5m])")).toBeNull();
});

test("the dashboard has panels, each with a title of its own and queries", () => {
  expect(new Set(dashboard.panels.map(({ title }) => title)).size).toBe(dashboard.panels.length);
  expect(queries.length).toBeGreaterThanOrEqual(dashboard.panels.length);
});

describe.each(queries)("$title: $expr", ({ expr, legendFormat }) => {
  test("names metrics that are served, and labels that these have", () => {
    const names = namesOf(expr);
    expect(names?.metrics.length).toBeGreaterThan(0);
    const { metrics, labels } = names!;
    const inLegend = [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label = ""]) => label);
    for (const served of [direct, throughEdge]) {
      for (const metric of metrics) {
        expect([...served.keys()]).toContain(metric);
        for (const label of labels) expect([...served.get(metric)!]).toContain(label);
      }
    }
    // What the legend shows is what the query keeps apart.
    for (const label of inLegend) expect(labels).toContain(label);
  });
});
