/** What YAML's plain block style can say. */
export type Yaml = string | number | boolean | null | readonly Yaml[] | { readonly [key: string]: Yaml };

interface Line {
  readonly indent: number;
  readonly text: string;
}

/**
 * Reads the part of YAML that our manifests are written in: mappings and lists in block style, scalars on one line,
 * comments on lines of their own. Throws on anything else.
 */
export function readYaml(source: string): Yaml {
  const lines = source.split("\n").flatMap((line): Line[] => {
    const text = line.trim();
    return text === "" || text.startsWith("#") ? [] : [{ indent: line.length - line.trimStart().length, text }];
  });
  const value = block(lines);
  if (lines.length > 0) throw new Error(`yaml: "${lines[0]!.text}" is out of place`);
  return value;
}

/** Takes the lines of one mapping or list. */
function block(lines: Line[]): Yaml {
  const { indent, text } = lines[0]!;
  return text.startsWith("- ") ? list(lines, indent) : mapping(lines, indent);
}

function list(lines: Line[], indent: number): Yaml[] {
  const items: Yaml[] = [];
  while (lines[0]?.indent === indent && lines[0].text.startsWith("- ")) {
    const text = lines.shift()!.text.slice(2);
    if (/^[\w./-]+:( |$)/.test(text)) {
      // The mapping begins on the dash's own line.
      lines.unshift({ indent: indent + 2, text });
      items.push(mapping(lines, indent + 2));
    } else items.push(scalar(text));
  }
  return items;
}

function mapping(lines: Line[], indent: number): Yaml {
  const entries = new Map<string, Yaml>();
  while (lines[0]?.indent === indent) {
    const [, key, rest] = /^([\w./-]+):(?: (.+))?$/.exec(lines.shift()!.text) ?? [];
    if (key === undefined || entries.has(key)) throw new Error(`yaml: no new key: ${key}`);
    if (rest !== undefined) entries.set(key, scalar(rest));
    else if (lines[0] !== undefined && lines[0].indent > indent) entries.set(key, block(lines));
    else throw new Error(`yaml: nothing under ${key}`);
  }
  return Object.fromEntries(entries);
}

function scalar(text: string): Yaml {
  if (/^".*"$/.test(text)) return JSON.parse(text) as string;
  if (/^[&*!|>'{}[\]%@`]|: | #/.test(text)) throw new Error(`yaml: no plain scalar: ${text}`);
  if (text === "true" || text === "false") return text === "true";
  return /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text;
}
