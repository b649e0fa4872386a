import { text } from "node:stream/consumers";

export interface RegistrationOptions {
  /** The edge's address. */
  readonly registryUrl: string;
  /** This gpu-worker's, as the edge reaches it. */
  readonly publicUrl: string;
  readonly model: string;
  readonly key: string;
  /** Said once per change: registered, refused, out of reach. */
  readonly log: (line: string) => void;
  readonly renewMs?: number;
}

/** A registration usually lasts three times as long, ms. */
const RENEW_MS = 5_000;
const ANSWER_MS = 4_000;
/** Characters of a refusal worth a line. */
const REFUSAL_LENGTH = 300;

/** Tells the edge that this gpu-worker is there, again and again until `end`. */
export class Registration {
  readonly #options: RegistrationOptions;
  readonly #stopping = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #renewing: Promise<void>;
  #told = "";

  constructor(options: RegistrationOptions) {
    this.#options = options;
    this.#renewing = this.#renew();
  }

  /** Takes it back, so that the edge sends nothing more; gives up where the edge does not answer. */
  async end(): Promise<void> {
    this.#stopping.abort();
    clearTimeout(this.#timer);
    await this.#renewing;
    const query = new URLSearchParams({ url: this.#options.publicUrl });
    await this.#call("DELETE", `?${query}`).catch(() => undefined);
  }

  async #renew(): Promise<void> {
    const { publicUrl: url, model, registryUrl, renewMs = RENEW_MS } = this.#options;
    try {
      const refusal = await this.#call("POST", "", { url, model });
      this.#tell(refusal === null ? `registered at ${registryUrl}` : `not registered: ${refusal}`);
    } catch (error) {
      const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
      this.#tell(
        `not registered: ${registryUrl} cannot be reached (${cause instanceof Error ? cause.message : cause})`,
      );
    }
    if (this.#stopping.signal.aborted) return;
    this.#timer = setTimeout(() => {
      this.#renewing = this.#renew();
    }, renewMs);
  }

  /** null, or why it was refused. Rejects where nobody answers in time. */
  async #call(method: "POST" | "DELETE", query: string, body?: object): Promise<string | null> {
    const { registryUrl, key } = this.#options;
    const response = await fetch(`${registryUrl}/fleet/workers${query}`, {
      method,
      headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
      signal: AbortSignal.timeout(ANSWER_MS),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const answer = response.body === null ? "" : await text(response.body);
    return response.ok ? null : `${response.status} ${answer.slice(0, REFUSAL_LENGTH)}`;
  }

  #tell(line: string): void {
    if (line === this.#told || this.#stopping.signal.aborted) return;
    this.#told = line;
    this.#options.log(line);
  }
}
