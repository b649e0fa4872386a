// Runs node-llama-cpp in a process of its own: the model stays loaded, answers come on request.
// Started as: node llama-child.mjs PACKAGE_ENTRY GGUF THREADS. Receives {id, sequences, contextSize, lookups} for a new
// context and {id, sequence, tokens, count} for an answer on one of its sequences; each is answered with its id.
import { pathToFileURL } from "node:url";

const [entry, modelPath, threads] = process.argv.slice(2);
const { getLlama, LlamaLogLevel, InputLookupTokenPredictor } = await import(pathToFileURL(entry).href);
const llama = await getLlama({ gpu: false, build: "never", skipDownload: true, logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath });
let context = null;
let sequences = [];

async function renew(count, contextSize, lookups) {
  await context?.dispose();
  context = await model.createContext({ sequences: count, contextSize, threads: Number(threads) });
  sequences = Array.from({ length: count }, (_, i) =>
    context.getSequence(i < count - lookups ? {} : { tokenPredictor: new InputLookupTokenPredictor() }),
  );
  return {};
}

async function answer(sequence, tokens, count) {
  const askedAt = performance.now();
  // What the sequence holds of this text already is not computed again.
  await sequence.adaptStateToTokens(tokens.slice(0, -1), false);
  sequence.tokenPredictor?.updateInputTokens(tokens);
  const times = [];
  const made = [];
  for await (const token of sequence.evaluate(tokens.slice(sequence.nextTokenIndex), {
    temperature: 0,
    yieldEogToken: true,
  })) {
    times.push(performance.now() - askedAt);
    made.push(token);
    if (made.length === count || model.isEogToken(token)) break;
  }
  return { times, tokens: made };
}

process.on("message", async ({ id, sequences: count, contextSize, lookups, sequence, tokens, count: wanted }) => {
  const result =
    tokens === undefined ? await renew(count, contextSize, lookups) : await answer(sequences[sequence], tokens, wanted);
  process.send({ id, ...result });
});
process.send({ ready: true });
