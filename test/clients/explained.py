"""Hooks for schemathesis over /openapi.json: SCHEMATHESIS_HOOKS=explained schemathesis run URL/openapi.json

A request that fits its schema may be refused only for what a schema cannot say, which is listed here.
"""

import re

import schemathesis

# The field named by an error, and what no schema says of it.
EXPLAINED = {
    r"top_logprobs": "needs another field",
    r"stream_options(\.pad)?": "needs another field, or does not go with one",
    r"tool_choice(\..*)?": "names one of tools",
    r"tools\[\d+\](\.function)?\.name": "names are different from one another",
    r"max_tokens": "two names of one field, with two values",
    r"stop": "does not go with a form of the answer",
    r"n": "counts together with prompts",
    r"speculation\.(trace|heads|top_k)": "depends on the model or the number of choices",
    r"speculation\.rescorer(\.(memory|model|order|type))?": "depends on the model and the deployment",
    r"logit_bias\.\d+": "the model's vocabulary ends somewhere",
    r"(tokens|prompt)(\[\d+\])+": "the model's vocabulary ends somewhere; prompts are not empty",
    r"prompt|input": "prompts are not empty, and fit the model's context",
    r"echo": "does not go with logprobs",
    r"input\[\d+\]\.(content|output)\[\d+\]\.type": "only an assistant refuses",
    r"guided|response_format": "one form of the answer at a time",
    r"guided\.(regex|grammar|choice|json).*": "its text has a syntax of its own",
    r"(response_format\.json_schema|text\.format)\.schema.*": "a JSON schema, of which some keywords are held to",
    r"tools\[\d+\](\.function)?\.parameters.*": "a JSON schema, of which some keywords are held to",
    r"messages(\[\d+\].*)?": "some fields depend on the role; for /tokenize any list is a chat",
}

SHORT = {
    "/v1/chat/completions": "max_completion_tokens",
    "/v1/completions": "max_tokens",
    "/v1/responses": "max_output_tokens",
}


@schemathesis.hook
def before_call(context, case, kwargs):
    """Answers of a few tokens are as good here as long ones."""
    name = SHORT.get(case.operation.path)
    body = case.body
    if name is None or not isinstance(body, dict):
        return
    if isinstance(body.get(name), int) and not isinstance(body.get(name), bool) and body[name] > 4:
        body[name] = 4
    elif body.get(name) is None and "max_tokens" not in body:
        body[name] = 4


@schemathesis.check
def refusals_are_explained(ctx, response, case):
    """Of a request that fits the schema."""
    if response.status_code != 400 or not case.meta or not case.meta.generation.mode.is_positive:
        return
    # Nothing is kept of callers where no keys tell them apart.
    if case.operation.path.startswith(("/v1/memory", "/v1/packs", "/v1/usage")):
        return
    error = response.json()["error"]
    param = error["param"] or ""
    known = any(re.fullmatch(pattern, param) for pattern in EXPLAINED)
    assert known, f"a request that fits the schema was refused for {param!r}: {error['message']}"
