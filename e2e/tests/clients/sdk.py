# SPDX-License-Identifier: GPL-3.0-or-later
"""The makers' libraries for Python, with nothing said but what to ask: keys and addresses are the environment's.

Prints a line for each thing that was asked.
"""

import json
import os
import sys

NAME, DESCRIPTION = "count", "Counts."
SCHEMA = {"type": "object", "properties": {"to": {"type": "integer"}}, "required": ["to"]}
MESSAGES = [{"role": "user", "content": "say hi"}]


def openai():
    from openai import OpenAI

    client = OpenAI()
    tools = [{"type": "function", "name": NAME, "parameters": SCHEMA, "strict": False}]

    def ask(model="gpt-5", **more):
        return client.responses.create(model=model, input="say hi", **more)

    def stream():
        chunks = client.chat.completions.create(model="gpt-5", messages=MESSAGES, stream=True)
        return "".join(it.choices[0].delta.content or "" for it in chunks if it.choices)

    return {
        "whole": lambda: ask().output_text,
        "stream": stream,
        "tool": lambda: json.loads(ask(tools=tools).output[0].arguments)["to"],
        "refused": lambda: ask("denied"),
    }


def anthropic():
    from anthropic import Anthropic

    client = Anthropic()
    tools = [{"name": NAME, "description": DESCRIPTION, "input_schema": SCHEMA}]

    def ask(model="claude-x", **more):
        return client.messages.create(model=model, max_tokens=64, messages=MESSAGES, **more)

    def stream():
        with client.messages.stream(model="claude-x", max_tokens=64, messages=MESSAGES) as it:
            return it.get_final_text()

    return {
        "whole": lambda: ask().content[0].text,
        "stream": stream,
        "tool": lambda: ask(tools=tools).content[0].input["to"],
        "refused": lambda: ask("denied"),
    }


def google():
    from google import genai

    # The variable alone makes it ask Vertex, but not at the address that is set for that.
    vertex = os.environ.get("GOOGLE_GENAI_USE_VERTEXAI") == "true"
    client = genai.Client(vertexai=True) if vertex else genai.Client()
    declaration = {"name": NAME, "description": DESCRIPTION, "parameters_json_schema": SCHEMA}
    config = {
        "tools": [{"function_declarations": [declaration]}],
        "automatic_function_calling": {"disable": True},
    }

    def ask(model="gemini-2.5-flash", **more):
        return client.models.generate_content(model=model, contents="say hi", **more)

    def stream():
        chunks = client.models.generate_content_stream(model="gemini-2.5-flash", contents="say hi")
        return "".join(it.text or "" for it in chunks)

    return {
        "whole": lambda: ask().text,
        "stream": stream,
        "tool": lambda: ask(config=config).function_calls[0].args["to"],
        "refused": lambda: ask("denied"),
    }


for what, ask in globals()[sys.argv[1]]().items():
    try:
        print(f"{what}: {ask()}")
    except Exception as error:
        status = getattr(error, "status_code", None) or getattr(error, "code", None)
        print(f"{what}: {status} {error}".replace("\n", " "))
