/** Forms an answer can be held to, each with an example of its own to start from. */

const SCHEMA = {
  type: "object",
  properties: {
    name: { type: "string", maxLength: 40 },
    age: { type: "integer", minimum: 0, maximum: 150 },
    city: { type: "string", maxLength: 40 },
    languages: { type: "array", items: { enum: ["German", "Polish", "English", "French"] }, maxItems: 4 },
  },
  required: ["name", "age", "city", "languages"],
  additionalProperties: false,
};

const TOOLS = [
  {
    type: "function",
    function: {
      name: "get_weather",
      description: "The weather in a city now.",
      parameters: {
        type: "object",
        properties: { city: { type: "string", maxLength: 30 }, unit: { enum: ["celsius", "fahrenheit"] } },
        required: ["city", "unit"],
        additionalProperties: false,
      },
    },
  },
];

/**
 * `label` and `example` belong to the text that says what exactly; `fields` makes request fields of it.
 *
 * @typedef {{ title: string, label: string | null, example: string, isJson: boolean, fields: (shape: string) => object }} AnswerForm
 * @type {Record<string, AnswerForm>}
 */
export const FORMS = {
  free: { title: "Free text", label: null, example: "", isJson: false, fields: () => ({}) },
  json: {
    title: "Any JSON object",
    label: null,
    example: "",
    isJson: true,
    fields: () => ({ response_format: { type: "json_object" } }),
  },
  schema: {
    title: "JSON by a schema",
    label: "JSON schema",
    example: pretty(SCHEMA),
    isJson: true,
    fields: (shape) => ({
      response_format: { type: "json_schema", json_schema: { name: "answer", strict: true, schema: parsed(shape) } },
    }),
  },
  regex: {
    title: "A pattern",
    label: "Regular expression",
    example: "(Yes|No), because [a-z ,]{10,80}\\.",
    isJson: false,
    fields: (shape) => ({ guided: { regex: shape.trim() } }),
  },
  choice: {
    title: "One of these",
    label: "Answers, one a line",
    example: "positive\nnegative\nneutral",
    isJson: false,
    fields: (shape) => ({ guided: { choice: shape.split("\n").filter((line) => line.trim() !== "") } }),
  },
  tools: {
    title: "A call of a tool",
    label: "Tools",
    example: pretty(TOOLS),
    isJson: false,
    fields: (shape) => ({ tools: parsed(shape), tool_choice: "required", parallel_tool_calls: false }),
  },
};

/** @param {unknown} value */
function pretty(value) {
  return JSON.stringify(value, null, 2);
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`This is not JSON: ${error instanceof Error ? error.message : error}`);
  }
}

/**
 * Whether a finished answer is JSON, as its form promises; null where that says nothing.
 *
 * @param {string} text
 * @param {string} form
 */
export function isValid(text, form) {
  if (!FORMS[form]?.isJson) return null;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
