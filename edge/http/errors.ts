import { ERRORS, StepError } from "../../shared/errors.ts";

/** OpenAI's error object. */
export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string;
  };
}

/** Seconds after which a refused caller may try again, where the engine has not said it. */
const RETRY_AFTER_S = 1;

/** Anything thrown, as an operating error. What is not a StepError is a fault of ours: nothing of it is shown. */
export function asStepError(error: unknown): StepError {
  return error instanceof StepError ? error : new StepError("internal", "The server had an error.");
}

/** A fault of this system, worth a line in the log, rather than of a request or of the moment. */
export function isFault({ code }: StepError): boolean {
  return ERRORS[code].status === 500 || ERRORS[code].status === 502;
}

export function errorBody({ code, message, param }: StepError): ErrorBody {
  return { error: { message, type: ERRORS[code].type, param, code } };
}

export function errorResponse(error: StepError, headers: Readonly<Record<string, string>> = {}): Response {
  const { status, retryable } = ERRORS[error.code];
  const retryAfterS = Math.max(1, Math.ceil(error.retryAfterS ?? RETRY_AFTER_S));
  return Response.json(errorBody(error), {
    status,
    headers: { ...(retryable ? { "retry-after": String(retryAfterS) } : {}), ...headers },
  });
}
