import { expect, test } from "vitest";
import { testApp, tokensOf, user } from "./fixture.ts";

const PLAIN = { speculation: { enabled: false } };

test("reads an assistant's refusal as what it said, wherever it stands", async () => {
  const { post, engine } = testApp();
  const refusals = [
    { refusal: "no" },
    { content: null, refusal: "no" },
    { content: [{ type: "refusal", refusal: "no" }] },
  ];
  for (const refused of refusals) {
    const messages = [...user("hi"), { role: "assistant", ...refused }, ...user("why")];
    expect((await post("/v1/chat/completions", { ...PLAIN, messages })).status).toBe(200);
  }
  const item = { role: "assistant", content: refusals[2]!.content };
  const input = [...user("hi"), item, ...user("why")];
  expect((await post("/v1/responses", { ...PLAIN, input })).status).toBe(200);
  const turn = (role: string, text: string) => `<|im_start|>${role}\n${text}<|im_end|>\n`;
  const rendered = `${turn("user", "hi")}${turn("assistant", "no")}${turn("user", "why")}<|im_start|>assistant\n`;
  expect(engine.specs.map(({ prompt }) => [...prompt])).toEqual(Array(4).fill(tokensOf(rendered)));
});
