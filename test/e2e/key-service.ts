import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect } from "vitest";
import { keyHash } from "../../scripts/edge-state.ts";
import { ROOT } from "../../scripts/paths.ts";
import { eventually, type Service, type ServiceOptions, startService } from "./service.ts";

export const ADMIN_KEY = "the administrator's key";
export const ASK = { model: "tiny", prompt: "Once upon", max_tokens: 4, temperature: 0 } as const;
/** Looks like a key from here. */
export const NOBODY = `fd-${"x".repeat(43)}`;

/** As much of a day's usage as tests look into. */
interface Used {
  requests: number;
  prompt_tokens: number;
  completion_tokens: number;
}

/** A service that knows an administrator and lets nobody in without a key. */
export class KeyService {
  readonly service: Service;

  private constructor(service: Service) {
    this.service = service;
  }

  static async start(more: Partial<ServiceOptions> = {}): Promise<KeyService> {
    const vars = { ADMIN_KEYS: keyHash(ADMIN_KEY), ANONYMOUS: "false", ...more.vars };
    return new KeyService(await startService({ engine: "tiny", ...more, vars }));
  }

  /** stdout of npm run keys; rejects where it fails. */
  async command(...args: string[]): Promise<string> {
    const env = { ...process.env, ADMIN_KEY };
    const argv = ["scripts/run.mjs", "keys", ...args, "--url", this.service.url];
    return (await promisify(execFile)(process.execPath, argv, { cwd: ROOT, env })).stdout.trim();
  }

  /** A key made without the command, which takes its time to start. */
  async add(name: string, limits: object = {}): Promise<string> {
    const response = await this.post(ADMIN_KEY, { name, ...limits }, "/admin/keys");
    expect(response.status).toBe(200);
    return ((await response.json()) as { key: string }).key;
  }

  post(key: string, body: object = ASK, path = "/v1/completions", signal?: AbortSignal): Promise<Response> {
    const headers = { "content-type": "application/json", authorization: `Bearer ${key}` };
    return this.service.post(path, body, { headers, ...(signal ? { signal } : {}) });
  }

  async get(path: string, key: string): Promise<{ status: number; body: unknown }> {
    const response = await fetch(`${this.service.url}${path}`, { headers: { authorization: `Bearer ${key}` } });
    return { status: response.status, body: await response.json() };
  }

  /** What the key's holder is told, all days together. */
  async used(key: string): Promise<Used> {
    const { days } = (await this.get("/v1/usage", key)).body as { days: Used[] };
    const sum: Used = { requests: 0, prompt_tokens: 0, completion_tokens: 0 };
    for (const day of days) for (const field of Object.keys(sum) as (keyof Used)[]) sum[field] += day[field];
    return sum;
  }

  /** The same, once there are so many requests. */
  async usedAfter(key: string, requests: number): Promise<Used> {
    return await eventually(
      () => this.used(key),
      (used) => used.requests === requests,
    );
  }
}

/** An error's parts. */
export async function refusal(response: Response) {
  const { error } = (await response.json()) as { error: { code: string; message: string; param: string | null } };
  return { status: response.status, ...error };
}
