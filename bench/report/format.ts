import { LIMITS } from "../../shared/limits.ts";
import type { MethodSummary } from "../eval/summary.ts";
import { type Html, html } from "./html.ts";

const TITLES: Readonly<Record<string, string>> = {
  ar: "autoregressive",
  none: "BPD",
  neural: "BPD, local rescorer",
  pair: "path of fitting pairs",
  "prompt-lookup": "prompt lookup",
  "llama.cpp": "llama.cpp",
  "llama.cpp-lookup": "llama.cpp, its lookup",
};

/** A method's name as the paper would write it. */
export function methodTitle(name: string): string {
  const known = TITLES[name];
  if (known !== undefined) return known;
  const ngram = /^ngram-(\d+)(?:-(\d+)best)?(-prompt)?(?:@(.+))?$/.exec(name);
  if (ngram !== null) {
    const [, order, paths, prompt, pack] = ngram;
    const own = prompt === undefined ? "" : " + prompt";
    return `${paths === undefined ? "" : `${paths}-best `}${order}-gram${own}${pack === undefined ? "" : `, pack ${pack}`}`;
  }
  const lattice = /^0gram-(\d+)best$/.exec(name);
  if (lattice !== null) return `${lattice[1]}-best 0-gram`;
  const tree = /^tree(?:-(\d+))?(-heads)?(-recycled)?(-no)?(-pair)?$/.exec(name);
  if (tree !== null) {
    const [, nodes = LIMITS.draftNodes, heads, recycled, no, pair] = tree;
    const parts = `${heads === undefined ? "" : ", heads alone"}${recycled === undefined ? "" : ", recycled"}`;
    return `tree, ${nodes} nodes${parts}${pairPart(no, pair)}`;
  }
  const path = /^path(?:-(\d+)best)?(-lm)?(-no)?(-pair)?$/.exec(name);
  if (path !== null) {
    const [, count, lm, no, pair] = path;
    const paths = count === undefined ? "one calibrated path" : `${count} calibrated paths`;
    return `${paths}${lm === undefined ? "" : ", without prompt"}${pairPart(no, pair)}`;
  }
  const fixed = /^(medusa|recycling)-(\d+)(-neural)?$/.exec(name);
  if (fixed !== null) {
    const [, kind, nodes, local] = fixed;
    const title = kind === "medusa" ? `Medusa's tree, ${nodes} nodes` : `token recycling, ${nodes} nodes`;
    return local === undefined ? title : `${title}, local`;
  }
  const oracle = /^oracle-(\d+)$/.exec(name);
  return oracle === null ? name : `oracle, top ${oracle[1]}`;
}

function pairPart(no: string | undefined, pair: string | undefined): string {
  return pair === undefined ? "" : `, with${no === undefined ? "" : "out"} pairs`;
}

export function number(value: number | null | undefined, digits = 2): string {
  return value === null || value === undefined || !Number.isFinite(value) ? "–" : value.toFixed(digits);
}

/** A confidence interval. */
export function range(interval: readonly number[] | null | undefined): string {
  return interval?.map((bound) => number(bound)).join(" to ") ?? "unknown";
}

/** With a sign, and a true minus. */
export function percent(ratio: number | null, digits = 1): string {
  if (ratio === null) return "–";
  const text = Math.abs(100 * ratio).toFixed(digits);
  if (Number(text) === 0) return `${text} %`;
  return `${ratio > 0 ? "+" : "−"}${text} %`;
}

/** Resampling fewer prompts than this says nothing about others. */
const RESAMPLED = 5;

/** A gain over BPD: sign and arrow say what the colour says; bold where the 95 % interval leaves zero out. */
export function gain(summary: Pick<MethodSummary, "gain_over_none" | "gain_over_none_ci95" | "prompts">): Html {
  const { gain_over_none: ratio, gain_over_none_ci95: interval, prompts } = summary;
  const text = percent(ratio);
  if (ratio === null || /^0\.0+ %$/.test(text)) return html`<span class="even">${text}</span>`;
  const sure = prompts >= RESAMPLED && interval !== null && (interval[0] > 0 || interval[1] < 0);
  const kind = `${ratio > 0 ? "gain" : "loss"}${sure ? " sure" : ""}`;
  return html`<span class="${kind}">${ratio > 0 ? "▲" : "▼"} ${text}</span>`;
}
