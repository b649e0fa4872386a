import type { StepTrace } from "../../edge/openai/answer-schemas.ts";

/** What the page asked of the API. */
export interface Asked {
  readonly messages: readonly { readonly role: string; readonly content: string | null }[];
  readonly max_tokens: number;
  readonly seed?: number;
  readonly tools?: readonly unknown[];
  readonly tool_choice?: string;
  readonly speculation: {
    readonly enabled?: boolean;
    readonly placement?: string;
    readonly rescorer?: { readonly type?: string; readonly p_best?: number };
  };
}

const TEXT =
  "The sky looks blue because air scatters short wavelengths of sunlight far more strongly than long ones.\n\n" +
  "Sunlight holds every colour. When it meets molecules much smaller than its wavelength, the share that is " +
  "scattered grows with the fourth power of the frequency, so violet and blue are spread over the whole sky while " +
  "red goes almost straight through. Our eyes are less sensitive to violet, and some of it is absorbed high up; " +
  "what remains appears blue. At sunset the path through the air is longer, and most of the blue is gone before " +
  "the light arrives.";

const pack = { title: "Language model", description: "Which.", type: "string", enum: ["general", "small"] };
const order = { title: "Order", description: "At most the pack's.", type: "integer", minimum: 2, maximum: 5 };
const alpha = { title: "Weight, alpha", description: "0 leaves it out.", type: "number", minimum: 0, maximum: 1 };
const prompt = { title: "Copy from prompt and answer", description: "Copies.", type: "boolean" };
const paths = { title: "Paths, p", description: "Merged.", type: "integer", minimum: 1, maximum: 16 };
const usual = { model: "general", order: 3, alpha: 0.35, prompt: false };

export const MODEL = {
  id: "toy",
  object: "model",
  notice: null,
  chat: true,
  speculation: {
    heads: 8,
    top_k: 16,
    packs: [
      { name: "general", order: 4, ngrams: 1000 },
      { name: "small", order: 2, ngrams: 100 },
    ],
    defaults: { heads: 6, top_k: 8, rescorer: { type: "ngram" } },
    rescorer_settings: {
      none: { title: "none", summary: "one path", defaults: {}, settings: {} },
      ngram: {
        title: "n-gram",
        summary: "the best paths",
        defaults: { ...usual, p_best: 2 },
        settings: { model: pack, order, alpha, prompt, p_best: paths },
      },
      tree: { title: "tree", summary: "a tree", defaults: usual, settings: { model: pack, order, alpha, prompt } },
      neural: { title: "neural", summary: "what fits", defaults: { alpha: 0.6 }, settings: { alpha } },
      // As a server may have one day: the page has never heard of it.
      novel: {
        title: "novel",
        summary: "something else",
        defaults: { reach: 4, kind: "near", bold: true },
        settings: {
          reach: { title: "Reach", type: "integer", minimum: 1, maximum: 9 },
          kind: { type: "string", enum: ["near", "far"] },
          bold: { title: "Bold", description: "Braver.", type: "boolean" },
        },
      },
    },
  },
};

/** The text as blocks of 1, 3, 5, 2, ... tokens with a draft around each; of single tokens where plain. */
export function blocks({ speculation }: Asked, prompt: string): StepTrace[] {
  const text = prompt === "JSON" ? '{"sky": "blue"}' : prompt === "endless" ? TEXT.repeat(50) : TEXT;
  const tokens = text.match(/\s*[\p{L}]+|\s*[^\s\p{L}]|\s+/gu) ?? [];
  const isPlain = speculation.enabled === false;
  const pattern = isPlain ? [1] : [1, 3, 5, 2, 4, 1, 7, 3];
  const traces: StepTrace[] = [];
  for (let at = 0; at < tokens.length; ) {
    const step = traces.length;
    const size = step === 0 ? 1 : pattern[step % pattern.length]!;
    const taken = tokens.slice(at, at + size);
    const accepted = taken.slice(0, -1);
    const draft = prompt === "deep" ? bigTree : tree;
    const drafted = step === 0 || isPlain ? [] : draft(accepted, speculation.rescorer?.p_best ?? 2);
    traces.push({
      step,
      accepted,
      bonus: taken.at(-1) ?? null,
      drafted,
      rejected: drafted.length - accepted.length,
      place: "edge",
      step_ms: step === 0 ? 31.4 : 12.3,
      model_ms: 11.9,
    });
    at += size;
  }
  return traces;
}

/** The accepted tokens and wrong ones after them, with a wrong second path from the root. */
function tree(accepted: readonly string[], paths: number): StepTrace["drafted"] {
  const wrong = [" of", " the", " and", " light", "\n", "."];
  const first = [...accepted, ...wrong].slice(0, 6).map((text, i) => node(i, text, i - 1, i < accepted.length));
  if (paths < 2) return first;
  const second = [" is", " not", " far"].map((text, i) =>
    node(10 + i, text, i === 0 ? -1 : first.length + i - 1, false),
  );
  return [...first, ...second];
}

/** 63 nodes, every other one on a path that is 40 deep, the rest two-token alternatives along it. */
function bigTree(accepted: readonly string[]): StepTrace["drafted"] {
  const nodes = Array.from({ length: 40 }, (_, i) => node(i, accepted[i] ?? ` token${i}`, i - 1, i < accepted.length));
  for (let i = 40; i < 63; i++) nodes.push(node(i, ` instead${i}`, i % 2 === 0 ? i - 40 : i - 1, false));
  return nodes;
}

function node(id: number, text: string, parent: number, accepted: boolean): StepTrace["drafted"][number] {
  return { id, text, parent, accepted };
}

/** What the last frame tells. */
export function lastFields(asked: Asked) {
  const isPlain = asked.speculation.enabled === false;
  const turns = asked.messages.filter(({ role }) => role === "assistant").length;
  const receipt = {
    steps: 31,
    block_efficiency: { unrefined: 2.1, refined: 3.2, best: 4.25 },
    tokens: { heads: 40, reranked: 20, prompt: 8, recycled: 0, novel: 3, bonus: 31 },
  };
  return {
    usage: { prompt_tokens: 40 + 100 * turns, prompt_tokens_details: { cached_tokens: 96 * turns } },
    metrics: {
      placement: { chosen: asked.speculation.placement ?? "edge", round_trip_ms: 12.34 },
      ...(isPlain ? {} : { receipt }),
    },
  };
}

/** A call of the tool as a stream brings it. */
export const CALL = [
  { index: 0, id: "call_1", type: "function", function: { name: "get_weather", arguments: "" } },
  { index: 0, function: { arguments: '{"city": "Rome"}' } },
];
