import { describe, expect, test } from "vitest";
import { Detokenizer, tokenText } from "../../edge/text/detokenize.ts";
import { StopScanner } from "../../edge/text/stop.ts";
import { createTokenizer } from "../../edge/text/tokenizer.ts";
import { isTooLong } from "../../edge/text/too-long.ts";
import { Transcript } from "../../edge/text/transcript.ts";
import type { CommittedToken } from "../../shared/decode/advance.ts";
import type { StepEvent } from "../../shared/decode/run.ts";
import { Random } from "../helpers/random.ts";
import { IM_END, tokenizer, tokensOf } from "./fixture.ts";

const SAMPLES = [
  "hello world",
  "  leading, trailing  ",
  "naïve café — “quotes”",
  "日本語テキスト и кириллица",
  "👩‍👩‍👧‍👦🏳️‍🌈 flags 🇩🇪",
  "tabs\tand\r\nlines\n\n",
  "\u0000\u0001\ufeffbom",
];

describe("the tokenizer", () => {
  test.each(SAMPLES)("has the bytes of %j", (text) => {
    const tokens = tokenizer.encodePlain(text);
    const bytes = tokens.flatMap((t) => [...tokenizer.bytes(t)]);
    expect(new TextDecoder("utf-8", { ignoreBOM: true, fatal: true }).decode(Uint8Array.from(bytes))).toBe(text);
  });

  test("takes control tokens only from marked text", () => {
    expect(tokenizer.encodeMarked("a<|im_end|>")).toEqual([...tokenizer.encodePlain("a"), IM_END]);
    expect(tokenizer.encodePlain("a<|im_end|>")).not.toContain(IM_END);
    expect(tokenizer.encodePlain("")).toEqual([]);
  });

  test("refuses files its byte table would be wrong for", () => {
    const bytes = (file: unknown) => new TextEncoder().encode(JSON.stringify(file));
    expect(() => createTokenizer(bytes({ model: { type: "Unigram" } }))).toThrow(/BPE/);
    expect(() => createTokenizer(bytes({ model: { type: "BPE", vocab: {} }, decoder: { type: "Metaspace" } }))).toThrow(
      /byte-level/,
    );
  });
});

describe("a prompt that is far too long", () => {
  /** Whether it is, and how many characters were tokenized to find out. */
  function looked(texts: readonly string[], tokens: number) {
    let characters = 0;
    const encode = (text: string) => {
      characters += text.length;
      return tokenizer.encodeMarked(text);
    };
    return { is: isTooLong(texts, tokens, encode), characters };
  }

  test.each([
    ["one word", ["x".repeat(100_000)]],
    ["signs", ["\u{10348}%".repeat(30_000)]],
    ["messages", Array<string>(200).fill("hello world ".repeat(50))],
  ])("of %s is tokenized only up to where that is certain", (_, texts) => {
    const { is, characters } = looked(texts, 512);
    expect(is).toBe(true);
    expect(characters).toBeLessThan(20 * 512);
  });

  test.each([
    ["short", ["x".repeat(1023)], 0],
    ["of long tokens", ["<|im_start|>".repeat(400)], 12 * 400],
    ["of many messages", Array<string>(256).fill("hello"), 5 * 256],
  ])("is not taken for one that is %s", (_, texts, characters) => {
    expect(looked(texts, 512)).toEqual({ is: false, characters });
  });
});

describe("the detokenizer", () => {
  test.each(SAMPLES)("gives %j back whole, and never a broken code point on the way", (text) => {
    const detokenizer = new Detokenizer(tokenizer);
    // One token a byte is the hardest cut there is.
    const tokens = [...new TextEncoder().encode(text)].map((byte) => tokensOfByte[byte]!);
    const pieces = tokens.map((t) => detokenizer.push(t));
    expect(pieces.join("") + detokenizer.end()).toBe(text);
    for (const piece of pieces) expect(piece).not.toContain("\ufffd");
  });

  test("shows U+FFFD for bytes that can become nothing, at once or at the end", () => {
    const detokenizer = new Detokenizer(tokenizer);
    expect(detokenizer.push(tokensOfByte[0xff]!)).toBe("\ufffd");
    expect(detokenizer.push(tokensOfByte[0xe2]!)).toBe("");
    expect(detokenizer.push(tokensOfByte[0x41]!)).toBe("\ufffdA");
    expect(detokenizer.push(tokensOfByte[0xe2]!)).toBe("");
    expect(detokenizer.end()).toBe("\ufffd");
  });

  test("hides control tokens in text and names them for display", () => {
    expect(new Detokenizer(tokenizer).push(IM_END)).toBe("");
    expect(tokenText(tokenizer, IM_END)).toBe("<|im_end|>");
    expect(tokenText(tokenizer, tokensOfByte[0xc3]!)).toBe("\\xc3");
  });
});

const tokensOfByte: readonly number[] = Array.from({ length: 256 }, (_, byte) => {
  for (let t = 0; t < 256; t++) if (tokenizer.bytes(t)[0] === byte) return t;
  throw new Error(`no token of byte ${byte}`);
});

describe("the stop scanner", () => {
  const scan = (pieces: readonly string[], stops: readonly string[]) => {
    const scanner = new StopScanner(stops);
    let text = "";
    for (const piece of pieces) {
      const { text: shown, stopped } = scanner.push(piece);
      text += shown;
      if (stopped) return { text, stopped };
    }
    return { text: text + scanner.end(), stopped: false };
  };

  test("holds back what may begin a stop string, and no more", () => {
    const scanner = new StopScanner(["END"]);
    expect(scanner.push("the E")).toEqual({ text: "the ", stopped: false });
    expect(scanner.push("N")).toEqual({ text: "", stopped: false });
    expect(scanner.push("E")).toEqual({ text: "EN", stopped: false });
    expect(scanner.push("ND!")).toEqual({ text: "", stopped: true });
  });

  test("gives up what it held when nothing came of it", () => {
    expect(scan(["a", "E", "N"], ["END"])).toEqual({ text: "aEN", stopped: false });
  });

  test("finds the same stop however the text is cut", () => {
    const random = new Random(7);
    for (let round = 0; round < 500; round++) {
      const letters = (n: number) => Array.from({ length: n }, () => random.pick(["a", "b", "c"])).join("");
      const text = letters(random.int(1, 20));
      const stops = Array.from({ length: random.int(1, 4) }, () => letters(random.int(1, 4)));
      const pieces: string[] = [];
      for (let at = 0; at < text.length; ) {
        const n = random.int(1, 5);
        pieces.push(text.slice(at, at + n));
        at += n;
      }
      expect(scan(pieces, stops), `${text} ${stops.join("|")}`).toEqual(scan([...text], stops));
    }
  });

  test("never shows a stop string", () => {
    const random = new Random(8);
    for (let round = 0; round < 200; round++) {
      const text = Array.from({ length: 30 }, () => random.pick(["a", "b"])).join("");
      expect(scan([...text], ["abba", "bab"]).text).not.toMatch(/abba|bab/);
    }
  });
});

describe("the transcript", () => {
  const event = (tokens: readonly number[], finish: StepEvent["finish"] = null): StepEvent => ({
    call: 1,
    committed: tokens.map(
      (token, i): CommittedToken => ({ token, kind: i < tokens.length - 1 ? "accepted" : "bonus", logProbs: null }),
    ),
    drafted: 0,
    verified: null,
    cachedTokens: 0,
    place: "edge",
    finish,
    timing: { queueMs: 0, modelMs: 0, engineMs: 0 },
    wallMs: 0,
  });

  test("keeps the tokens up to the one that completes a stop string, across blocks", () => {
    const transcript = new Transcript(tokenizer, ["o w"]);
    expect(transcript.push(event(tokensOf("hello")))).toMatchObject({ text: "hell", kept: 1, finish: null });
    expect(transcript.push(event(tokensOf(" world!"), "length"))).toMatchObject({ text: "", kept: 1, finish: "stop" });
  });

  test("gives the same text for every way of grouping the tokens into blocks", () => {
    const random = new Random(9);
    const tokens = tokensOf("hello wörld, héllo 😀 world hello");
    const run = (block: () => number): string => {
      const transcript = new Transcript(tokenizer, ["o wo", "😀 w"]);
      let text = "";
      for (let at = 0; at < tokens.length; ) {
        const n = block();
        const step = transcript.push(event(tokens.slice(at, at + n), at + n >= tokens.length ? "length" : null));
        at += n;
        text += step.text;
        if (step.finish !== null) break;
      }
      return text;
    };
    const plain = run(() => 1);
    expect(plain).toBe("hello wörld, héllo ");
    for (let round = 0; round < 50; round++) expect(run(() => random.int(1, 9))).toBe(plain);
  });

  test("drops a code point that the token limit cut, shows U+FFFD where the model itself ended in it", () => {
    const half = [...tokensOf("a"), tokensOfByte[0xf0]!, tokensOfByte[0x9f]!];
    expect(new Transcript(tokenizer, []).push(event(half, "length")).text).toBe("a");
    expect(new Transcript(tokenizer, []).push(event([...half, IM_END], "stop")).text).toBe("a\ufffd");
  });
});
