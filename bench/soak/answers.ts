interface Kind {
  readonly temperature: number;
  readonly speculation: object;
}

/** What callers ask for, side by side. */
export const KINDS: Readonly<Record<string, Kind>> = {
  default: { temperature: 0, speculation: {} },
  none: { temperature: 0, speculation: { rescorer: { type: "none" } } },
  ngram: { temperature: 0, speculation: { rescorer: { type: "ngram", prompt: true } } },
  plain: { temperature: 0, speculation: { enabled: false } },
  sampled: { temperature: 0.8, speculation: {} },
};

export interface Asked {
  /** One of KINDS. */
  readonly kind: string;
  /** The user's message. */
  readonly content: string;
  readonly seed: number;
}

/** The answer's text, by the drafts of `kind` and the sampling of `asked.kind`. */
export async function textOf(
  { url, model, maxTokens }: { readonly url: string; readonly model: string; readonly maxTokens: number },
  asked: Asked,
  kind: string,
): Promise<string> {
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      model,
      messages: [{ role: "user", content: asked.content }],
      max_tokens: maxTokens,
      temperature: KINDS[asked.kind]!.temperature,
      seed: asked.seed,
      speculation: KINDS[kind]!.speculation,
    }),
  });
  if (!response.ok) throw new Error(`HTTP ${response.status}: ${await response.text()}`);
  const { choices } = (await response.json()) as { choices: readonly { message: { content: string } }[] };
  return choices[0]!.message.content;
}
