import { describe, expect, test } from "vitest";
import { type CallPart, callText, ToolCallParser } from "../../edge/text/tool-calls.ts";
import { Random } from "../helpers/random.ts";

interface Call {
  name: string;
  arguments: string;
}

/** What a client would put together. */
function gathered(pieces: readonly string[]): { content: string; calls: Call[] } {
  const parser = new ToolCallParser();
  let content = "";
  const calls: Call[] = [];
  const take = (parsed: { content: string; calls: readonly CallPart[] }) => {
    content += parsed.content;
    for (const part of parsed.calls) {
      if ("name" in part) calls.push({ name: part.name, arguments: "" });
      else calls[part.index]!.arguments += part.arguments;
    }
  };
  for (const piece of pieces) take(parser.push(piece));
  take(parser.end());
  return { content, calls };
}

function cut(text: string, random: Random): string[] {
  const pieces: string[] = [];
  for (let at = 0; at < text.length; ) {
    const length = random.int(1, 9);
    pieces.push(text.slice(at, at + length));
    at += length;
  }
  return pieces;
}

const CALLS = [
  { name: "get_weather", arguments: '{"city": "a } <tool_call> b", "days": {"n": 2}}' },
  { name: "stop", arguments: "{}" },
];
const TEXT = CALLS.map((call) => callText(call.name, call.arguments)).join("\n");

describe("calls in a text", () => {
  test.each([
    ["alone", "", TEXT],
    ["after content", "Let me see < it: <tool\n", `Let me see < it: <tool\n${TEXT}`],
  ])("%s are found however the text is cut", (_, content, text) => {
    expect(gathered([text])).toEqual({ content, calls: CALLS });
    for (let seed = 1; seed <= 200; seed++) {
      expect(gathered(cut(text, new Random(seed))), `seed ${seed}`).toEqual({ content, calls: CALLS });
    }
  });

  test("of which there are none leave the text as it is", () => {
    const text = "a <tool_cal and <tool_";
    for (let seed = 1; seed <= 50; seed++)
      expect(gathered(cut(text, new Random(seed)))).toEqual({ content: text, calls: [] });
  });

  test("that are cut off are told as far as they go", () => {
    const { calls } = gathered([callText("f", '{"a": 1}').slice(0, -18)]);
    expect(calls).toEqual([{ name: "f", arguments: '{"a"' }]);
  });

  test("that are cut off within their last mark have nothing of it among their arguments", () => {
    const whole = callText("f", '{"a": {"b": {}}}');
    const end = whole.indexOf("\n</tool_call>") - 1;
    for (let length = end; length < whole.length; length++) {
      for (const pieces of [[whole.slice(0, length)], [...whole.slice(0, length)]]) {
        expect(gathered(pieces).calls, `${length}`).toEqual([{ name: "f", arguments: '{"a": {"b": {}}}' }]);
      }
    }
    expect(gathered([whole.slice(0, end - 1)]).calls).toEqual([{ name: "f", arguments: '{"a": {"b": {}}' }]);
  });

  test("are told piece by piece", () => {
    const parser = new ToolCallParser();
    const parts = [...callText("f", '{"a": 1}')].map((piece) => parser.push(piece).calls.length);
    expect(parts.reduce((sum, count) => sum + count, 0)).toBeGreaterThan(5);
  });
});
