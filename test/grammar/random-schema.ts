import type { Random } from "../helpers/random.ts";

type Schema = Record<string, unknown>;

const NAMES = ["name", "id", "kind", "größe", "a b", 'quo"te', "tags", "x", "value", "nested"];
const FORMATS = ["date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"];
const PATTERNS = [
  "^[A-Z]{2}-\\d{3}$",
  "^(foo|bar)+$",
  "ab?c",
  "^\\w+@\\w+$",
  '^[^"\\\\]{1,5}$',
  "^\\S+\\s\\S+$",
  "x|^y$",
];
const LITERALS = ["red", "", 'a"b', "ü", 0, -1, 2.5, true, null, "line\nbreak", [1, "a"], { k: [null] }];

/** A schema of what is supported, never deeper than `depth`. */
export function randomSchema(random: Random, depth = 3): Schema {
  const leaf = depth === 0 || random.chance(0.4);
  return leaf ? randomLeaf(random) : randomComposite(random, depth - 1);
}

function randomLeaf(random: Random): Schema {
  switch (random.int(0, 8)) {
    case 0:
      return { type: "string", ...bounds(random, "minLength", "maxLength", 12) };
    case 1:
      return { type: "string", format: random.pick(FORMATS) };
    case 2:
      return { type: "string", pattern: random.pick(PATTERNS) };
    case 3:
      return { type: "integer", ...numberBounds(random, true) };
    case 4:
      return { type: "number", ...numberBounds(random, false) };
    case 5:
      return { type: random.pick(["integer", "number"]), multipleOf: random.pick([1, 2, 3, 5, 7, 10, 25, 100, 12]) };
    case 6:
      return { enum: Array.from({ length: random.int(1, 4) }, () => random.pick(LITERALS)) };
    case 7:
      return { const: random.pick(LITERALS) };
    default:
      return { type: random.pick<unknown>(["boolean", "null", ["string", "null"], ["integer", "boolean"]]) };
  }
}

function randomComposite(random: Random, depth: number): Schema {
  switch (random.int(0, 5)) {
    case 0: {
      const items = randomSchema(random, depth);
      return { type: "array", items, ...bounds(random, "minItems", "maxItems", 4) };
    }
    case 1: {
      const prefixItems = Array.from({ length: random.int(1, 3) }, () => randomSchema(random, depth));
      return { type: "array", prefixItems, items: random.chance(0.5) ? false : randomSchema(random, depth) };
    }
    case 2:
      return { anyOf: Array.from({ length: random.int(1, 3) }, () => randomSchema(random, depth)) };
    case 3:
      return { type: "object", additionalProperties: randomSchema(random, depth), maxProperties: random.int(0, 3) };
    case 4:
      return oneOf(random, depth);
    default:
      return randomObject(random, depth);
  }
}

export function randomObject(random: Random, depth: number): Schema {
  const names = NAMES.filter(() => random.chance(0.35));
  const properties = Object.fromEntries(names.map((name) => [name, randomSchema(random, depth)]));
  const required = names.filter(() => random.chance(0.6));
  return { type: "object", properties, required, ...(random.chance(0.7) ? { additionalProperties: false } : {}) };
}

/** Alternatives that a constant tells apart. */
function oneOf(random: Random, depth: number): Schema {
  const options = ["cat", "dog", "cow"].slice(0, random.int(1, 3)).map((kind) => ({
    type: "object",
    properties: { kind: { const: kind }, of: randomSchema(random, depth) },
    required: ["kind"],
    additionalProperties: false,
  }));
  return { oneOf: options };
}

function bounds(random: Random, low: string, high: string, most: number): Schema {
  const least = random.int(0, most);
  return {
    ...(random.chance(0.5) ? { [low]: least } : {}),
    ...(random.chance(0.5) ? { [high]: random.int(least, most) } : {}),
  };
}

function numberBounds(random: Random, whole: boolean): Schema {
  const one = () => {
    const value = random.int(-1200, 1200);
    return whole ? value : value / random.pick([1, 2, 10, 100, 1000]);
  };
  const [low, high] = [one(), one()].sort((a, b) => a - b);
  // Apart enough to hold a whole number whatever is strict.
  const top = high! - low! < 3 ? Math.ceil(high!) + 3 : high!;
  return {
    ...(random.chance(0.6) ? { [random.chance(0.3) ? "exclusiveMinimum" : "minimum"]: low } : {}),
    ...(random.chance(0.6) ? { [random.chance(0.3) ? "exclusiveMaximum" : "maximum"]: top } : {}),
  };
}
