import { readFileSync } from "node:fs";
import { join } from "node:path";

/** Strings of a folder and the ids that a reference gives them: strings.json, and in the other file a line of ids for each. */
export function goldenTokens(
  folder: string,
  file: string,
): readonly (readonly [text: string, ids: readonly number[]])[] {
  const read = <T>(name: string) => JSON.parse(readFileSync(join(folder, name), "utf8")) as T;
  const strings = read<readonly string[]>("strings.json");
  const { ids } = read<{ readonly ids: readonly string[] }>(file);
  if (ids.length !== strings.length) throw new Error(`${file} is of ${ids.length} strings, not ${strings.length}`);
  return ids.map((line, i) => [strings[i]!, line === "" ? [] : line.split(" ").map(Number)]);
}
