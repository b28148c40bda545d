"""Uses a server through OpenAI's client in every way that it has for text and pictures."""

import asyncio
import json
import os

import openai
from openai import AsyncOpenAI, OpenAI

BASE = os.environ["OPENAI_BASE_URL"]
client = OpenAI(base_url=BASE, api_key="none")
name = client.models.list().data[0].id
assert client.models.retrieve(name).id == name

ask = {"model": name, "messages": [{"role": "user", "content": "What is red?"}], "temperature": 0}
whole = client.chat.completions.create(**ask, max_completion_tokens=12, n=2, logprobs=True, top_logprobs=2)
assert len(whole.choices) == 2 and whole.usage.total_tokens > whole.usage.prompt_tokens > 0
assert whole.choices[0].logprobs.content[0].top_logprobs[0].logprob <= 0
assert whole.choices[0].finish_reason in ("stop", "length")

stream = client.chat.completions.create(
    **ask, max_completion_tokens=12, stream=True, stream_options={"include_usage": True}
)
text, usage = "", None
for chunk in stream:
    usage = chunk.usage or usage
    for choice in chunk.choices:
        text += choice.delta.content or ""
assert text == whole.choices[0].message.content, (text, whole)
assert usage.completion_tokens > 0

with client.chat.completions.stream(**ask, max_completion_tokens=12) as events:
    final = events.get_final_completion()
assert final.choices[0].message.content == text

schema = {
    "type": "object",
    "properties": {"colors": {"type": "array", "items": {"enum": ["red", "blue"]}, "minItems": 1, "maxItems": 3}},
    "required": ["colors"],
    "additionalProperties": False,
}
held = client.chat.completions.create(
    **ask,
    response_format={"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}},
)
assert set(json.loads(held.choices[0].message.content)["colors"]) <= {"red", "blue"}

texts = client.completions.create(model=name, prompt=["A circle", "A house"], max_tokens=5, temperature=0)
assert [choice.index for choice in texts.choices] == [0, 1]

for wrong, error in [
    ({"temperature": 9}, openai.BadRequestError),
    ({"messages": []}, openai.BadRequestError),
    ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "no"}}}}, openai.BadRequestError),
]:
    try:
        client.chat.completions.create(**{**ask, **wrong})
        raise SystemExit(f"{wrong} was answered")
    except error as found:
        assert found.body["message"] and found.request_id.startswith("req-"), found
try:
    client.models.retrieve("another/model")
    raise SystemExit("there is another model")
except openai.NotFoundError:
    pass


async def many() -> None:
    several = AsyncOpenAI(base_url=BASE, api_key="none")
    replies = [several.chat.completions.create(**ask, max_completion_tokens=12) for _ in range(32)]
    texts = {reply.choices[0].message.content for reply in await asyncio.gather(*replies)}
    assert texts == {text}, texts


asyncio.run(many())
print("the client's ways all work")
