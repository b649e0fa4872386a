import { createLevel, findChildEntry, linkChildren, type NgramTable } from "./table.ts";

const LN10 = Math.LN10;
/** Log10 probability ARPA files give to what never occurs, and to words the file does not list. */
const NEVER = -99;
const SPECIAL = new Set(["<s>", "</s>", "<unk>"]);

/** ARPA text of a table, line by line; words are decimal token ids, log-probabilities log10. */
export function* arpaLines(table: NgramTable): Generator<string> {
  yield "\\data\\";
  yield* table.levels.map((level, n) => `ngram ${n + 1}=${n === 0 ? level.count + SPECIAL.size : level.count}`);
  let names: string[] = [];
  for (let n = 0; n < table.order; n++) {
    const { count, words, parents, logProbs, logBackoffs } = table.levels[n]!;
    yield "";
    yield `\\${n + 1}-grams:`;
    if (n === 0) for (const word of SPECIAL) yield `${NEVER}\t${word}\t0`;
    const own: string[] = [];
    for (let i = 0; i < count; i++) {
      const name = n === 0 ? `${words[i]}` : `${names[parents[i]!]} ${words[i]}`;
      const backoff = n + 1 < table.order ? `\t${decimal(logBackoffs[i]! / LN10)}` : "";
      yield `${decimal(logProbs[i]! / LN10)}\t${name}${backoff}`;
      own.push(name);
    }
    names = own;
  }
  yield "";
  yield "\\end\\";
}

const decimal = (value: number): string => `${Number(value.toPrecision(8))}`;

interface Gram {
  readonly logProb: number;
  readonly logBackoff: number;
}

/**
 * A table from ARPA text whose words are decimal token ids (KenLM, SRILM and OpenGrm write such files). n-grams
 * with sentence marks are dropped: our histories have none. Missing suffixes are added with the probability that
 * backing off gave them, so nothing else changes. Throws on anything malformed, naming the line.
 */
export async function readArpa(
  lines: AsyncIterable<string> | Iterable<string>,
  vocabSize: number,
): Promise<NgramTable> {
  const orders: Map<string, Gram>[] = [];
  let unknown = NEVER * LN10;
  let section = 0;
  let number = 0;
  for await (const line of lines) {
    number++;
    const header = /^\\(\d+)-grams:/.exec(line);
    if (header) {
      section = Number(header[1]);
      if (section !== orders.length + 1) throw new Error(`line ${number}: order ${section} out of sequence`);
      orders.push(new Map());
    } else if (line.startsWith("\\end\\")) {
      section = 0;
    } else if (section > 0 && line.trim() !== "") {
      const parsed = parseLine(line, section, vocabSize);
      if (typeof parsed === "string") throw new Error(`line ${number}: ${parsed}`);
      if (parsed.words[0] === "<unk>" && section === 1) unknown = parsed.gram.logProb;
      if (!parsed.words.some((word) => SPECIAL.has(word)))
        orders[section - 1]!.set(parsed.words.join(" "), parsed.gram);
    }
  }
  if (orders.length < 2) throw new Error("not an ARPA file of order 2 or more");
  for (let token = 0; token < vocabSize; token++) {
    if (!orders[0]!.has(`${token}`)) orders[0]!.set(`${token}`, { logProb: unknown, logBackoff: 0 });
  }
  addSuffixes(orders);
  return buildTable(orders, vocabSize);
}

function parseLine(line: string, order: number, vocabSize: number): { words: string[]; gram: Gram } | string {
  const fields = line.trim().split(/\s+/);
  if (fields.length !== order + 1 && fields.length !== order + 2)
    return `${fields.length} fields in an n-gram of order ${order}`;
  const words = fields.slice(1, order + 1);
  for (const word of words) {
    if (SPECIAL.has(word)) continue;
    if (!/^(0|[1-9]\d*)$/.test(word) || Number(word) >= vocabSize)
      return `${word} is not a token id below ${vocabSize}`;
  }
  const logProb = Number(fields[0]) * LN10;
  const logBackoff = Number(fields[order + 1] ?? 0) * LN10;
  if (!Number.isFinite(logProb) || !Number.isFinite(logBackoff) || logProb > 1e-6) return `numbers of ${line.trim()}`;
  return { words, gram: { logProb: Math.min(0, logProb), logBackoff } };
}

function addSuffixes(orders: readonly Map<string, Gram>[]): void {
  const score = (words: readonly string[]): number => {
    const found = orders[words.length - 1]!.get(words.join(" "));
    if (found) return found.logProb;
    const backoff = orders[words.length - 2]!.get(words.slice(0, -1).join(" "))?.logBackoff ?? 0;
    return backoff + score(words.slice(1));
  };
  for (let n = orders.length - 1; n > 0; n--) {
    const below = orders[n - 1]!;
    for (const name of orders[n]!.keys()) {
      const words = name.split(" ");
      for (const part of [words.slice(0, -1), words.slice(1)]) {
        const key = part.join(" ");
        if (!below.has(key)) below.set(key, { logProb: score(part), logBackoff: 0 });
      }
    }
  }
}

function buildTable(orders: readonly Map<string, Gram>[], vocabSize: number): NgramTable {
  const levels: NgramTable["levels"][number][] = [];
  let numbers = new Map<string, number>();
  orders.forEach((grams, n) => {
    const rows = [...grams].map(([name, gram]) => {
      const cut = name.lastIndexOf(" ");
      const parent = n === 0 ? 0 : numbers.get(name.slice(0, cut))!;
      return { name, parent, word: Number(name.slice(cut + 1)), gram };
    });
    rows.sort((a, b) => a.parent - b.parent || a.word - b.word);
    const words = vocabSize <= 1 << 16 ? new Uint16Array(rows.length) : new Uint32Array(rows.length);
    const links = n === 0 ? 0 : rows.length;
    const level = createLevel(words, new Uint32Array(links), new Uint32Array(links));
    rows.forEach(({ parent, word, gram }, i) => {
      words[i] = word;
      level.logProbs[i] = gram.logProb;
      level.logBackoffs[i] = n + 1 < orders.length ? gram.logBackoff : 0;
      if (n > 0) level.parents[i] = parent;
    });
    const below = levels[n - 1];
    if (below) linkChildren(below, level.parents);
    for (let i = 0; below && i < rows.length; i++) {
      const { parent, word } = rows[i]!;
      level.suffixes[i] = n === 1 ? word : findChildEntry(levels[n - 2]!, below, below.suffixes[parent]!, word);
    }
    levels.push(level);
    numbers = new Map(rows.map(({ name }, i) => [name, i]));
  });
  return { order: orders.length, vocabSize, levels };
}
