import type * as z from "zod";
import { StepError } from "../../shared/errors.ts";

/** `body` as an object. Throws StepError (400) for anything else. */
export function asObject(body: unknown): Record<string, unknown> {
  if (typeof body !== "object" || body === null || Array.isArray(body)) {
    throw new StepError("invalid_request", "The body must be a JSON object.");
  }
  return { ...body };
}

/** Throws StepError (400) naming the field at fault. */
export function check<T>(schema: z.ZodType<T>, body: unknown): T {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  throw zodFault(parsed.error.issues);
}

/** A checked value that came by itself, under its name. Throws as `check` does. */
export function checkField<T>(name: string, schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw zodFault(parsed.error.issues, [name]);
}

export function invalid(param: string, reason: string): StepError {
  return new StepError("invalid_request", `Invalid '${param}': ${reason}.`, param);
}

/** The fault reported is the first one; a union's is that of the alternative
 * with the fewest, the later one on a tie. */
function zodFault(issues: readonly z.core.$ZodIssue[], prefix: readonly PropertyKey[] = []): StepError {
  const issue = issues[0];
  if (issue === undefined) return new StepError("invalid_request", "The body is invalid.");
  const path = [...prefix, ...issue.path];
  if (issue.code === "unrecognized_keys") {
    const name = pathName([...path, issue.keys[0] ?? ""]);
    return new StepError("invalid_request", `Unknown field '${name}'.`, name);
  }
  if (issue.code === "invalid_union") {
    const branches = issue.errors.filter((branch) => (branch[0]?.path.length ?? 0) > 0);
    const closest = branches.toSorted((a, b) => a.length - b.length || branches.indexOf(b) - branches.indexOf(a))[0];
    if (closest !== undefined) return zodFault(closest, path);
  }
  return invalid(pathName(path), issue.message.replace(/^Invalid input: /, "").replace(/\.$/, ""));
}

function pathName(path: readonly PropertyKey[]): string {
  return path.reduce<string>((name, key) => {
    if (typeof key === "number") return `${name}[${key}]`;
    return name === "" ? String(key) : `${name}.${String(key)}`;
  }, "");
}
