/** A gpu-worker's metrics, in Prometheus' text format. */
export interface WorkerMetrics {
  readonly worker: string;
  readonly text: string;
}

interface Family {
  /** HELP and TYPE. */
  readonly comments: string[];
  readonly samples: string[];
}

/** The metrics of several workers as one text: each family once, its samples with the label `worker`. */
export function labelled(all: readonly WorkerMetrics[]): string {
  const families = new Map<string, Family>();
  for (const { worker, text } of all) {
    let family: Family = { comments: [], samples: [] };
    for (const line of text.split("\n")) {
      const name = /^# (?:HELP|TYPE) (\S+)/.exec(line)?.[1];
      if (name !== undefined) {
        family = families.get(name) ?? { comments: [], samples: [] };
        families.set(name, family);
        if (!family.comments.some((known) => known.slice(0, 7) === line.slice(0, 7))) family.comments.push(line);
      } else if (line !== "" && !line.startsWith("#")) family.samples.push(withLabel(line, worker));
    }
  }
  return [...families.values()].map(({ comments, samples }) => `${[...comments, ...samples].join("\n")}\n`).join("");
}

function withLabel(sample: string, worker: string): string {
  const label = `worker="${worker.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
  return sample.replace(/^([a-zA-Z_:][\w:]*)(\{)?/, (_, name: string, open?: string) =>
    open === undefined ? `${name}{${label}}` : `${name}{${label},`,
  );
}
