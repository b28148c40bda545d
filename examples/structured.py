"""Asks a server for JSON about a picture: python structured.py PICTURE. Needs `pip install openai`.

Whatever the model would like to say, the answer has the fields of `Scene` and their types.
The server is at OPENAI_BASE_URL, or on this machine; its key, if it has one, is OPENAI_API_KEY.
"""

import base64
import mimetypes
import os
import sys
from typing import Literal

from openai import OpenAI
from pydantic import BaseModel


class Thing(BaseModel):
    name: Literal["circle", "square", "star", "house", "tree", "sphere", "cube", "other"]
    large: bool


class Scene(BaseModel):
    indoors: bool
    main: Thing
    color: Literal["red", "green", "blue", "yellow", "purple", "brown", "other"]


def main() -> None:
    kind = mimetypes.guess_type(sys.argv[1])[0] or "image/png"
    with open(sys.argv[1], "rb") as file:
        url = f"data:{kind};base64,{base64.b64encode(file.read()).decode()}"
    client = OpenAI(
        base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1"),
        api_key=os.environ.get("OPENAI_API_KEY", "none"),
    )
    answer = client.chat.completions.parse(
        model="aki",
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": url}},
                    {"type": "text", "text": "What can you see in the image?"},
                ],
            }
        ],
        temperature=0,
        response_format=Scene,
    )
    print(answer.choices[0].message.parsed.model_dump_json(indent=2))


main()
