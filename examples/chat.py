"""Asks a server about a picture: python chat.py PICTURE "QUESTION". Needs `pip install openai`.

The server is at OPENAI_BASE_URL, or on this machine; its key, if it has one, is OPENAI_API_KEY.
"""

import base64
import mimetypes
import os
import sys

from openai import OpenAI


def main() -> None:
    path, question = sys.argv[1], sys.argv[2]
    kind = mimetypes.guess_type(path)[0] or "image/png"
    with open(path, "rb") as file:
        url = f"data:{kind};base64,{base64.b64encode(file.read()).decode()}"
    client = OpenAI(
        base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1"),
        api_key=os.environ.get("OPENAI_API_KEY", "none"),
    )
    stream = client.chat.completions.create(
        model="aki",
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": url}},
                    {"type": "text", "text": question},
                ],
            }
        ],
        temperature=0,
        max_tokens=256,
        stream=True,
        extra_body={"attention": "mutual"},
    )
    for chunk in stream:
        if chunk.choices:
            print(chunk.choices[0].delta.content or "", end="", flush=True)
    print()


main()
