import { Presets, SingleBar } from "cli-progress";

export interface Bar {
  update(stage: string, done: number, total: number): void;
  stop(): void;
}

/** One bar for a stage of work: drawn on a terminal, a line a tenth elsewhere; on stderr. */
export function progressBar(label = ""): Bar {
  let bar: SingleBar | null = null;
  let current = "";
  let tenth = -1;
  const stop = () => {
    bar?.stop();
    bar = null;
    current = "";
  };
  const begin = (stage: string, total: number) => {
    stop();
    current = stage;
    tenth = -1;
    if (!process.stderr.isTTY) return;
    const format = `${label}${label ? " " : ""}${stage} {bar} {percentage}%`;
    bar = new SingleBar({ format, stream: process.stderr, hideCursor: true }, Presets.shades_classic);
    bar.start(total, 0);
  };
  const update = (stage: string, done: number, total: number) => {
    if (stage !== current) begin(stage, total);
    bar?.update(done);
    const reached = Math.floor((10 * done) / total);
    if (!bar && reached !== tenth) process.stderr.write(`${label}${label ? " " : ""}${stage} ${reached * 10} %\n`);
    tenth = reached;
  };
  return { update, stop };
}
