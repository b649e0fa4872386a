// Runs node-llama-cpp in a process of its own: the model stays loaded, answers come on request.
// Started as: node llama-child.mjs PACKAGE_ENTRY GGUF THREADS. Receives {tokens, count}, answers {count, seconds}.
import { pathToFileURL } from "node:url";

const [entry, modelPath, threads] = process.argv.slice(2);
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(entry).href);
const llama = await getLlama({ gpu: false, build: "never", skipDownload: true, logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath });
const context = await model.createContext({ contextSize: 2048, threads: Number(threads) });
const sequence = context.getSequence();

process.on("message", async ({ tokens, count }) => {
  await sequence.clearHistory();
  let first = 0;
  let last = 0;
  let made = 0;
  for await (const token of sequence.evaluate(tokens, { temperature: 0 })) {
    last = performance.now();
    first ||= last;
    if (++made === count || model.isEogToken(token)) break;
  }
  process.send({ count: made, seconds: (last - first) / 1000 });
});
process.send({ ready: true });
