"""How the fake worker reads texts: each word is a token, numbered as it is first seen."""

from __future__ import annotations

import base64
import re

from aiohttp import web

from rbee_agent.contracts.tasks import Message
from rbee_agent.errors import InvalidParams
from rbee_agent.http.errors import error_response, json_response

TEMPLATE = "{% for message in messages %}{{ message.content }}\n{% endfor %}"


class Words:
    """A vocabulary that grows."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def serve(self, router: web.UrlDispatcher) -> None:
        """Answer the routes that a worker has for texts."""
        router.add_post("/tokenize", self._tokenize)
        router.add_post("/detokenize", self._detokenize)
        router.add_post("/apply-template", self._apply)
        router.add_get("/words", self._words)

    async def _tokenize(self, request: web.Request) -> web.Response:
        words = re.findall(r"\s*\S+", (await request.json())["text"])
        ids = [self._known.setdefault(word, len(self._known)) for word in words]
        pieces = [base64.b64encode(word.encode()).decode() for word in words]
        return json_response({"tokens": ids, "pieces": pieces})

    async def _detokenize(self, request: web.Request) -> web.Response:
        shown = {number: word for word, number in self._known.items()}
        ids = (await request.json())["tokens"]
        if not all(number in shown for number in ids):
            message = f"token ids lie between 0 and {len(shown) - 1}"
            return error_response(
                InvalidParams([{"field": "tokens", "constraint": "range", "message": message}])
            )
        return json_response({"text": "".join(shown[number] for number in ids)})

    async def _apply(self, request: web.Request) -> web.Response:
        messages = [Message.read(one) for one in (await request.json())["messages"]]
        return json_response({"prompt": "\n".join(message.text() for message in messages)})

    async def _words(self, _: web.Request) -> web.Response:
        return json_response({"chat_template": TEMPLATE, "bos": "", "eos": "</s>", "build": "fake"})
