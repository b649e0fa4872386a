/**
 * Everything that can go wrong in operation, in one table. `status` is the HTTP status at the edge,
 * `type` OpenAI's error type, `retryable` whether the same request may succeed later.
 */
export const ERRORS = {
  invalid_request: { status: 400, type: "invalid_request_error", retryable: false },
  context_length_exceeded: { status: 400, type: "invalid_request_error", retryable: false },
  unsupported: { status: 400, type: "invalid_request_error", retryable: false },
  invalid_api_key: { status: 401, type: "authentication_error", retryable: false },
  forbidden: { status: 403, type: "invalid_request_error", retryable: false },
  model_not_found: { status: 404, type: "invalid_request_error", retryable: false },
  not_found: { status: 404, type: "invalid_request_error", retryable: false },
  method_not_allowed: { status: 405, type: "invalid_request_error", retryable: false },
  body_too_large: { status: 413, type: "invalid_request_error", retryable: false },
  unsupported_media_type: { status: 415, type: "invalid_request_error", retryable: false },
  rate_limit_exceeded: { status: 429, type: "rate_limit_error", retryable: true },
  client_closed: { status: 499, type: "invalid_request_error", retryable: false },
  internal: { status: 500, type: "server_error", retryable: false },
  bad_frame: { status: 502, type: "server_error", retryable: false },
  protocol_mismatch: { status: 502, type: "server_error", retryable: false },
  engine_failed: { status: 502, type: "server_error", retryable: true },
  engine_lost: { status: 503, type: "server_error", retryable: true },
  engine_unavailable: { status: 503, type: "server_error", retryable: true },
  overloaded: { status: 503, type: "server_error", retryable: true },
  timeout: { status: 504, type: "server_error", retryable: true },
} as const;

export type ErrorCode = keyof typeof ERRORS;

export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === "string" && Object.hasOwn(ERRORS, value);
}

/**
 * An operating error. `message` is safe to show to the caller; `param` names the field at fault; `retryAfterS` says
 * when the same request may succeed, where that is known, s.
 */
export class StepError extends Error {
  readonly code: ErrorCode;
  readonly param: string | null;
  readonly retryAfterS: number | null;
  constructor(code: ErrorCode, message: string, param: string | null = null, retryAfterS: number | null = null) {
    super(message);
    this.name = "StepError";
    this.code = code;
    this.param = param;
    this.retryAfterS = retryAfterS;
  }
}
