import { parseArgs } from "node:util";
import { RESCORER_TYPES } from "../shared/rescore/index.ts";
import { readAdminKey } from "./edge-state.ts";

const HELP = `npm run keys -- add --name NAME [limits]   makes an API key and prints it, this once
npm run keys -- list                       every key, with what it allows
npm run keys -- revoke NAME                by name or id; it is refused within 10 s
npm run keys -- usage [NAME]               what a key, or each, used by day (UTC)
  --requests-per-minute N   without a limit of its own where left out, as the next four
  --tokens-per-minute N     tokens of prompt and completion
  --streams N               completions at once
  --max-context N           tokens of prompt and completion together
  --rescorers LIST          those it may draft with beside none: ${RESCORER_TYPES.filter((t) => t !== "none").join(",")}
  --expires WHEN            a date (2030-01-31, until its end in UTC), a time (2030-01-31T12:00:00Z), or from now: 12h, 30d
  --days N                  of usage, days shown (7)
  --url URL                 the edge (FOREDRAFT_URL, http://127.0.0.1:8787)
  --json                    the edge's own answers
ADMIN_KEY in the environment is the administrator's key; the edge of npm start on this machine has its own, which is found.`;

interface Key {
  readonly id: string;
  readonly name: string;
  readonly status: string;
  readonly requests_per_minute: number | null;
  readonly tokens_per_minute: number | null;
  readonly streams: number | null;
  readonly max_context: number | null;
  readonly rescorers: readonly string[] | null;
  readonly expires_at: string | null;
  /** In the answer to `add` alone. */
  readonly key?: string;
}

interface Usage {
  readonly key: Key;
  readonly days: readonly Readonly<Record<string, string | number>>[];
}

const OPTIONS = {
  name: { type: "string" },
  "requests-per-minute": { type: "string" },
  "tokens-per-minute": { type: "string" },
  streams: { type: "string" },
  "max-context": { type: "string" },
  rescorers: { type: "string" },
  expires: { type: "string" },
  days: { type: "string", default: "7" },
  url: { type: "string", default: process.env.FOREDRAFT_URL ?? "http://127.0.0.1:8787" },
  json: { type: "boolean", default: false },
  help: { type: "boolean", default: false },
} as const;

const UNITS_MS: Readonly<Record<string, number>> = { h: 3_600_000, d: 86_400_000 };

type Values = ReturnType<typeof parse>["values"];

try {
  await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}

function parse() {
  return parseArgs({ options: OPTIONS, allowPositionals: true });
}

async function main(): Promise<void> {
  const { values, positionals } = parse();
  if (values.help) return console.log(HELP);
  const [command, named, ...more] = positionals;
  if (more.length > 0) throw new Error(`one key at a time, not also "${more[0]}" (--help)`);
  switch (command) {
    case "add":
      return await add(values, named);
    case "list":
      return await list(values, named);
    case "revoke":
      if (named === undefined) throw new Error("revoke which key? npm run keys -- revoke NAME");
      return await revoke(values, named);
    case "usage":
      return await usage(values, named);
    default:
      throw new Error(`add, list, revoke or usage, not "${command ?? ""}" (--help)`);
  }
}

async function add(values: Values, named: string | undefined): Promise<void> {
  const name = values.name ?? named;
  if (name === undefined) throw new Error("the key needs a name: npm run keys -- add --name NAME");
  const made = await call<Key>(values, "POST", "", {
    name,
    requests_per_minute: count(values, "requests-per-minute"),
    tokens_per_minute: count(values, "tokens-per-minute"),
    streams: count(values, "streams"),
    max_context: count(values, "max-context"),
    rescorers: values.rescorers === undefined ? null : values.rescorers.split(",").filter((type) => type !== ""),
    expires_at: values.expires === undefined ? null : expiry(values.expires),
  });
  if (values.json) return console.log(JSON.stringify(made));
  console.error(`The key of ${made.name} (id ${made.id}). It is shown only now; keep it.`);
  console.log(made.key);
}

async function list(values: Values, named: string | undefined): Promise<void> {
  if (named !== undefined) throw new Error(`list takes no name, "${named}" (--help)`);
  const { data } = await call<{ data: Key[] }>(values, "GET", "");
  if (values.json) return console.log(JSON.stringify(data));
  const head = ["name", "id", "status", "requests/min", "tokens/min", "streams", "context", "rescorers", "expires"];
  const rows = data.map((key) => [
    key.name,
    key.id,
    key.status,
    key.requests_per_minute,
    key.tokens_per_minute,
    key.streams,
    key.max_context,
    key.rescorers?.join(",") ?? null,
    key.expires_at,
  ]);
  print([head, ...rows]);
}

async function revoke(values: Values, named: string): Promise<void> {
  const key = await call<Key>(values, "DELETE", `/${encodeURIComponent(named)}`);
  console.log(values.json ? JSON.stringify(key) : `The key of ${key.name} (id ${key.id}) is revoked.`);
}

async function usage(values: Values, named: string | undefined): Promise<void> {
  const days = count(values, "days") ?? 0;
  const ids = named === undefined ? (await call<{ data: Key[] }>(values, "GET", "")).data.map(({ id }) => id) : [named];
  const told: Usage[] = [];
  for (const id of ids) told.push(await call<Usage>(values, "GET", `/${encodeURIComponent(id)}/usage`));
  if (values.json) return console.log(JSON.stringify(told));
  const columns = ["day", "requests", "prompt_tokens", "cached_tokens", "completion_tokens"];
  const rows = told.flatMap(({ key, days: all }) =>
    all.slice(0, days).map((day) => [key.name, key.id, ...columns.map((column) => day[column] ?? null)]),
  );
  print([["name", "id", ...columns.map((column) => column.replace("_", " "))], ...rows]);
}

/** In columns, numbers to the right. */
function print(rows: readonly (readonly (string | number | null)[])[]): void {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => String(row[i] ?? "-").length)));
  for (const row of rows) {
    const cells = row.map((cell, i) => {
      const text = String(cell ?? "-");
      return typeof cell === "number" ? text.padStart(widths[i]!) : text.padEnd(widths[i]!);
    });
    console.log(cells.join("  ").trimEnd());
  }
}

function count(values: Values, option: keyof Values): number | null {
  const text = values[option];
  if (text === undefined) return null;
  if (typeof text !== "string" || !/^[1-9]\d{0,9}$/.test(text)) {
    throw new Error(`--${option} must be a whole number above 0, not "${text}"`);
  }
  return Number(text);
}

/** ISO 8601. */
function expiry(text: string): string {
  const [, amount, unit] = /^(\d{1,5})([hd])$/.exec(text) ?? [];
  if (amount !== undefined) return new Date(Date.now() + Number(amount) * UNITS_MS[unit!]!).toISOString();
  const time = new Date(/^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T23:59:59Z` : text);
  if (Number.isNaN(time.getTime())) throw new Error(`--expires must be a date, a time, or as 30d, not "${text}"`);
  return time.toISOString();
}

/** Asks the edge's /admin/keys. Throws Error with the edge's own words. */
async function call<T>({ url, json: _ }: Values, method: string, path: string, body?: object): Promise<T> {
  const base = URL.parse(url);
  if (base === null || !/^https?:$/.test(base.protocol))
    throw new Error(`--url must be an http or https URL, not "${url}"`);
  const response = await fetch(new URL(`/admin/keys${path}`, base), {
    method,
    headers: { authorization: `Bearer ${await adminKey(base)}`, "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  }).catch(() => {
    throw new Error(`nothing answers at ${base.origin}; is it running? --url names another edge`);
  });
  const answer = (await response.json().catch(() => null)) as { error?: { message?: string } } | null;
  if (!response.ok) throw new Error(answer?.error?.message ?? `${base.origin} answered ${response.status}`);
  return answer as T;
}

/** A key goes to another machine only where it was given for that. */
async function adminKey({ hostname, port, protocol }: URL): Promise<string> {
  const given = process.env.ADMIN_KEY;
  if (given) return given;
  const isHere = hostname === "localhost" || hostname === "[::1]" || hostname.startsWith("127.");
  const known = isHere ? await readAdminKey(Number(port || (protocol === "https:" ? 443 : 80))) : null;
  if (known === null) throw new Error("the administrator's key is needed: set ADMIN_KEY");
  return known;
}
