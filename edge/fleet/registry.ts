import * as z from "zod";
import { LIMITS } from "../../shared/limits.ts";
import { within } from "../within.ts";

/** A gpu-worker that said where it is and what it serves. */
export interface RegisteredWorker {
  readonly url: string;
  readonly model: string;
}

/** Where gpu-workers register (registry-object.ts). What registers is forgotten again unless it does so every few seconds. */
export interface Registry {
  /** false: there are as many as it holds. */
  register(worker: RegisteredWorker): Promise<boolean>;
  /** false: it was not there. */
  remove(url: string): Promise<boolean>;
  list(): Promise<readonly RegisteredWorker[]>;
}

/** The address of a gpu-worker, without a slash at its end. The edge calls no other kind. */
export const workerUrl = z
  .string()
  .max(LIMITS.urlLength)
  .refine((text) => urlFault(text) === null, { error: (issue) => urlFault(String(issue.input)) ?? "" })
  .transform((text) => new URL(text).href.replace(/\/$/, ""));

function urlFault(text: string): string | null {
  const url = URL.parse(text);
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:")) return "expected an http or https URL";
  if (url.username !== "" || url.password !== "") return "a URL with a user name or password is not taken";
  if (text.includes("?") || text.includes("#")) return "a URL with a query or fragment is not taken";
  return null;
}

/** A gpu-worker of the configuration, and the one model it serves; null: it may be asked for any. */
export interface FixedWorker {
  readonly url: string;
  readonly model: string | null;
}

const MODEL = /^([A-Za-z0-9._-]+)=(.*)$/s;

/** `URL` or `MODEL=URL`. */
export const fixedWorker = z
  .string()
  .transform((text): FixedWorker => {
    const [, model = null, url = text] = MODEL.exec(text) ?? [];
    return { url, model };
  })
  .pipe(z.object({ url: workerUrl, model: z.string().nullable() }));

/** What POST /fleet/workers takes. */
export const registration = z.strictObject({ url: workerUrl, model: z.string().min(1).max(LIMITS.modelNameLength) });

/** How long an answer of the registry serves an isolate, ms. */
const FRESH_MS = 2_000;
const ANSWER_MS = 1_000;

export interface FleetOptions {
  /** Gpu-workers that are always there. */
  readonly fixed: readonly FixedWorker[];
  /** null: none registers. */
  readonly registry: Registry | null;
  /** ms, monotonic. */
  readonly now: () => number;
  readonly logError: (error: unknown) => void;
}

/** All gpu-workers known to an isolate: those of the configuration and those that registered. */
export class FleetList {
  readonly #options: FleetOptions;
  #registered: readonly RegisteredWorker[] = [];
  #askedAt = Number.NEGATIVE_INFINITY;

  constructor(options: FleetOptions) {
    this.#options = options;
  }

  /** Those that may serve `model`, null standing for any; as lately known where the registry cannot be asked. */
  async urls(model: string | null): Promise<readonly string[]> {
    const { fixed, registry, now, logError } = this.#options;
    if (registry !== null && now() - this.#askedAt >= FRESH_MS) {
      // Before the answer, so that requests of the same moment do not all ask; the first ones have nothing to go on yet.
      if (this.#registered.length > 0) this.#askedAt = now();
      try {
        this.#registered = await within(registry.list(), ANSWER_MS);
      } catch (error) {
        logError(error);
      }
      this.#askedAt = now();
    }
    const serving = [...fixed, ...this.#registered].filter((worker) => {
      return model === null || worker.model === null || worker.model === model;
    });
    return [...new Set(serving.map(({ url }) => url))];
  }
}
