import { expect, test } from "vitest";
import { ERRORS, isErrorCode, StepError } from "../../shared/errors.ts";

test.each(Object.entries(ERRORS))("%s is a client or server error of its own status class", (_code, entry) => {
  expect(entry.status).toBeGreaterThanOrEqual(400);
  expect(entry.status).toBeLessThan(600);
  expect(entry.type === "server_error").toBe(entry.status >= 500);
});

test("only the table's own keys are error codes", () => {
  expect(isErrorCode("timeout")).toBe(true);
  for (const other of ["toString", "__proto__", "", 5, null, undefined]) expect(isErrorCode(other)).toBe(false);
});

test("a StepError carries code, message and the field at fault", () => {
  const error = new StepError("invalid_request", "too long", "prompt");
  expect(error).toBeInstanceOf(Error);
  expect({ ...error, message: error.message }).toMatchObject({
    code: "invalid_request",
    param: "prompt",
    message: "too long",
  });
  expect(new StepError("internal", "x").param).toBeNull();
});
