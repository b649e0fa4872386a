"""The clients of other languages' registries against a running server: python conformance.py URL

openai, litellm and langchain-openai, each skipped where it is not installed. The server is expected to serve `tiny`.
"""

import importlib.util
import json
import os
import sys
import unittest

URL = sys.argv.pop(1).rstrip("/") if len(sys.argv) > 1 else "http://127.0.0.1:8787"
MODEL = "tiny"
MESSAGES = [{"role": "user", "content": "Tell me a story about a dog."}]
WEATHER = {
    "type": "object",
    "properties": {"city": {"enum": ["Rome", "Oslo"]}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "Tells it.", "parameters": WEATHER}}]
CHOICE = {"type": "function", "function": {"name": "get_weather"}}
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": PERSON}}

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")


def needs(module):
    return unittest.skipIf(importlib.util.find_spec(module) is None, f"{module} is not installed")


@needs("openai")
class OpenAI(unittest.TestCase):
    def setUp(self):
        import openai

        self.client = openai.OpenAI(base_url=f"{URL}/v1", api_key="any", max_retries=0)
        self.addCleanup(self.client.close)
        self.chat = self.client.chat.completions
        self.body = {"model": MODEL, "messages": MESSAGES, "temperature": 0, "max_completion_tokens": 60}

    def test_chat_whole_and_streamed(self):
        whole = self.chat.create(**self.body)
        chunks = list(self.chat.create(**self.body, stream=True, stream_options={"include_usage": True}))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(chunks[-1].usage.completion_tokens, whole.usage.completion_tokens)

    def test_unknown_fields_pass(self):
        plain = self.chat.create(**self.body, extra_body={"speculation": {"enabled": False}})
        self.assertEqual(plain.choices[0].message.content, self.chat.create(**self.body).choices[0].message.content)

    def test_tools_and_what_they_answered(self):
        tools = {"tools": TOOLS, "parallel_tool_calls": False}
        first = self.chat.create(**self.body, **tools, tool_choice=CHOICE).choices[0]
        call = first.message.tool_calls[0]
        self.assertEqual(first.finish_reason, "tool_calls")
        self.assertIn(json.loads(call.function.arguments)["city"], ["Rome", "Oslo"])
        answer = {"role": "tool", "tool_call_id": call.id, "content": "Rain."}
        history = [*MESSAGES, first.message.model_dump(exclude_none=True), answer]
        second = self.chat.create(**{**self.body, "messages": history}, tools=TOOLS, tool_choice="none")
        self.assertIsNone(second.choices[0].message.tool_calls)

    def test_parsed_output_and_stream_helper(self):
        import pydantic

        class Person(pydantic.BaseModel):
            name: str = pydantic.Field(max_length=8)
            age: int = pydantic.Field(ge=0, le=99)

        parsed = self.chat.parse(**{**self.body, "max_completion_tokens": 200}, response_format=Person)
        self.assertIsInstance(parsed.choices[0].message.parsed, Person)
        with self.chat.stream(**{**self.body, "max_completion_tokens": 200}, response_format=Person) as stream:
            for _event in stream:
                pass
            self.assertEqual(stream.get_final_completion().choices[0].message.parsed, parsed.choices[0].message.parsed)
        response = self.client.responses.parse(
            model=MODEL, input="Who?", text_format=Person, temperature=0, max_output_tokens=200
        )
        self.assertIsInstance(response.output_parsed, Person)

    def test_responses_whole_and_streamed(self):
        body = {"model": MODEL, "input": "Tell me a story.", "temperature": 0, "max_output_tokens": 24}
        whole = self.client.responses.create(**body)
        with self.client.responses.stream(**body) as stream:
            text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
            final = stream.get_final_response()
        self.assertEqual([text, final.output_text], [whole.output_text] * 2)

    def test_responses_call_tools(self):
        tool = {"type": "function", "name": "get_weather", "parameters": WEATHER, "strict": True}
        choice = {"type": "function", "name": "get_weather"}
        body = {"model": MODEL, "temperature": 0, "max_output_tokens": 60, "tools": [tool], "parallel_tool_calls": False}
        question = [{"role": "user", "content": "How is the weather?"}]
        with self.client.responses.stream(**body, input=question, tool_choice=choice) as stream:
            done = [event for event in stream if event.type == "response.function_call_arguments.done"]
            final = stream.get_final_response()
        call = final.output[0]
        self.assertEqual(done[0].arguments, call.arguments)
        self.assertIn(json.loads(call.arguments)["city"], ["Rome", "Oslo"])
        answer = {"type": "function_call_output", "call_id": call.call_id, "output": "Rain."}
        history = [*question, call.model_dump(exclude_none=True, exclude={"parsed_arguments"}), answer]
        self.assertIn(self.client.responses.create(**body, input=history).status, ["completed", "incomplete"])

    def test_completions(self):
        body = {"model": MODEL, "prompt": ["Once", "The dog"], "max_tokens": 8, "temperature": 0, "n": 2}
        self.assertEqual(len(self.client.completions.create(**body).choices), 4)

    def test_refusals_are_exceptions(self):
        import openai

        for more, param in [({"temperature": 3}, "temperature"), ({"modalities": ["audio"]}, "modalities")]:
            with self.assertRaises(openai.BadRequestError) as refused:
                self.chat.create(**{**self.body, **more})
            self.assertEqual(refused.exception.param, param)
        with self.assertRaises(openai.NotFoundError):
            self.chat.create(**{**self.body, "model": "none"})


@needs("litellm")
class LiteLLM(unittest.TestCase):
    def body(self, **more):
        base = {"model": f"openai/{MODEL}", "api_base": f"{URL}/v1", "api_key": "any", "num_retries": 0}
        return {**base, "messages": MESSAGES, "temperature": 0, "max_tokens": 60, **more}

    def test_chat_whole_and_streamed(self):
        import litellm

        whole = litellm.completion(**self.body()).choices[0].message.content
        chunks = litellm.completion(**self.body(stream=True))
        self.assertEqual("".join(chunk.choices[0].delta.content or "" for chunk in chunks), whole)

    def test_tools(self):
        import litellm

        answer = litellm.completion(**self.body(tools=TOOLS, tool_choice=CHOICE, parallel_tool_calls=False))
        call = answer.choices[0].message.tool_calls[0]
        self.assertIn(json.loads(call.function.arguments)["city"], ["Rome", "Oslo"])

    def test_structured_output(self):
        import litellm

        answer = litellm.completion(**self.body(response_format=FORMAT, max_tokens=200))
        self.assertEqual(set(json.loads(answer.choices[0].message.content)), {"name", "age"})

    def test_responses(self):
        import litellm

        body = {key: value for key, value in self.body().items() if key not in ("messages", "max_tokens")}
        answer = litellm.responses(**body, input="Tell me a story.", max_output_tokens=16)
        self.assertEqual(answer.output[0].type, "message")

    def test_refusals_are_exceptions(self):
        import litellm

        with self.assertRaises(litellm.BadRequestError):
            litellm.completion(**self.body(temperature=3))


@needs("langchain_openai")
class LangChain(unittest.TestCase):
    def models(self, **more):
        from langchain_openai import ChatOpenAI

        settings = {"model": MODEL, "base_url": f"{URL}/v1", "api_key": "any", "temperature": 0, "max_retries": 0}
        for responses in (False, True):
            yield ChatOpenAI(**{**settings, "max_tokens": 60, **more}, use_responses_api=responses)

    def test_invoke_and_stream(self):
        for model in self.models():
            whole = model.invoke("Tell me a story.")
            self.assertGreater(whole.usage_metadata["output_tokens"], 0)
            self.assertEqual("".join(chunk.text for chunk in model.stream("Tell me a story.")), whole.text)

    def test_bound_tools(self):
        from langchain_core.messages import HumanMessage, ToolMessage

        for model in self.models():
            bound = model.bind_tools(TOOLS, tool_choice="get_weather", parallel_tool_calls=False)
            question = HumanMessage("How is the weather?")
            asked = bound.invoke([question])
            call = asked.tool_calls[0]
            self.assertIn(call["args"]["city"], ["Rome", "Oslo"])
            result = ToolMessage("Rain.", tool_call_id=call["id"])
            self.assertEqual(model.bind_tools(TOOLS, tool_choice="none").invoke([question, asked, result]).tool_calls, [])

    def test_structured_output(self):
        for model in self.models(max_tokens=200):
            for method in ("json_schema", "function_calling"):
                schema = {"title": "person", "description": "Somebody.", **PERSON}
                value = model.with_structured_output(schema, method=method).invoke("Who?")
                self.assertEqual(set(value), {"name", "age"})


if __name__ == "__main__":
    unittest.main()
