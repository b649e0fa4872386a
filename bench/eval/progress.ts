import { SingleBar } from "cli-progress";

/** A bar on a terminal, a line now and then elsewhere. */
export class Progress {
  readonly #bar: SingleBar;
  constructor(total: number, unit = "rows") {
    this.#bar = new SingleBar({
      format: `{bar} {value}/{total} ${unit}, {duration_formatted}, {eta_formatted} to go`,
      stream: process.stderr,
      clearOnComplete: false,
      noTTYOutput: true,
      notTTYSchedule: 30_000,
      hideCursor: true,
    });
    this.#bar.start(total, 0);
  }
  step(): void {
    this.#bar.increment();
  }
  /** A line above the bar. */
  say(line: string): void {
    if (process.stderr.isTTY) process.stderr.write("\r\u001b[K");
    console.error(line);
  }
  stop(): void {
    this.#bar.stop();
  }
}
