"""llama.cpp's own routes over a queen with one scripted worker."""

from __future__ import annotations

import json

import pytest

from rbee_agent.testing.scripts import LOGGED
from rbee_agent.testing.worker import FakeWorker, Faults, answer


@pytest.fixture
async def worker(caller, hive) -> FakeWorker:
    """A worker of the model `demo` that the queen knows."""
    made = FakeWorker("w1")
    await hive.add(made)
    await caller.register(hive)
    return made


async def test_a_completion(caller, worker):
    """Text, why it ended, timings; the model need not be named where there is one."""
    reply = await caller.http.post("/completion", json={"prompt": "hello bees", "n_predict": 5})
    assert reply.status_code == 200, reply.text
    said = reply.json()
    assert said["content"] == answer("hello bees", 5)
    assert (said["stop"], said["stop_type"], said["model"]) == (True, "limit", "demo")
    assert (said["tokens_evaluated"], said["tokens_predicted"]) == (2, 5)
    assert (said["timings"]["prompt_n"], said["timings"]["predicted_n"]) == (2, 5)
    assert said["generation_settings"]["n_predict"] == 5


async def test_a_stream(caller, worker):
    """Chunks, and a last one with the bill; no mark behind it."""
    body = {"prompt": "hello bees", "n_predict": 5, "stream": True}
    reply = await caller.http.post("/completion", json=body)
    lines = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: ")]
    assert "".join(line["content"] for line in lines) == answer("hello bees", 5)
    assert [line["stop"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert lines[-1]["timings"]["predicted_n"] == 5
    assert "[DONE]" not in reply.text


async def test_several_prompts(caller, worker):
    """A list of answers in their order, each with its index."""
    reply = await caller.http.post(
        "/completion", json={"model": "demo", "prompt": ["a", "b"], "n_predict": 2}
    )
    assert [(one["index"], one["content"]) for one in reply.json()] == [
        (0, answer("a", 2)),
        (1, answer("b", 2)),
    ]


async def test_a_stop_string_and_probabilities(caller, worker):
    """What the worker tells of them."""
    worker.script = [
        *LOGGED[:-1],
        ("end", {"tokens_in": 1, "tokens_out": 2, "finish_reason": "stop", "stop_sequence": "x"}),
    ]
    said = (await caller.http.post("/completion", json={"prompt": "a", "n_probs": 2})).json()
    assert (said["stop_type"], said["stopping_word"]) == ("word", "x")
    assert [one["token"] for one in said["completion_probabilities"]] == ["Hi", " you"]


async def test_fields_reach_the_worker(caller, worker):
    """Under the names that a task has for them."""
    await caller.http.post(
        "/completion",
        json={
            "prompt": "a",
            "n_predict": 3,
            "temperature": 0.5,
            "top_k": 3,
            "repeat_penalty": 1.2,
            "repeat_last_n": -1,
            "seed": 4,
            "stop": "x",
            "logit_bias": [[5, 1.5], [6, False]],
            "json_schema": {"type": "object"},
            "cache_prompt": False,
            "ignore_eos": True,
            "id_slot": -1,
            "mirostat": 0,
        },
    )
    job = worker.seen.requests[-1]
    sampling = job.sampling
    assert (sampling.temperature, sampling.top_k, sampling.seed) == (0.5, 3, 4)
    assert (sampling.repetition_penalty, sampling.penalty_last_n) == (1.2, -1)
    assert sampling.logit_bias == {"5": 1.5, "6": -100.0}
    assert (job.stop, job.max_tokens, job.kv_hint) == (["x"], 3, "cold")
    assert job.response_format.json_schema == {"type": "object"}
    assert sampling.ignore_eos


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"prompt": [1, 2, 3]}, "send text"),
        ({"prompt": []}, "1 to 128 texts"),
        ({"prompt": "a", "id_slot": 2}, "id_slot"),
        ({"prompt": "a", "dry_multiplier": 0.8}, "dry_multiplier"),
        ({"prompt": "a", "samplers": ["top_k"]}, "samplers"),
        ({"prompt": "a", "n_predict": 0}, "n_predict"),
        ({"prompt": "a", "repeat_penalty": 9}, "repeat_penalty"),
        ({"prompt": "a", "image_data": [{}]}, "see images"),
        ({"prompt": "a", "colour": 1}, "colour: there is no such field"),
        ({"prompt": "a", "logit_bias": [["x"]]}, "logit_bias"),
    ],
    ids=str,
)
async def test_what_cannot_be_done_is_refused_by_name(caller, worker, body, words):
    """400 in llama.cpp's shape; nothing is ignored."""
    reply = await caller.http.post("/completion", json=body)
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert words in error["message"]
    assert (error["type"], error["code"]) == ("invalid_request_error", 400)
    assert worker.seen.executions == 0


async def test_a_prompt_that_does_not_fit(caller, worker):
    """Both numbers, under llama.cpp's names."""
    reply = await caller.http.post("/completion", json={"prompt": "bee " * 5000})
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert error["type"] == "exceed_context_size_error"


async def test_a_failure_in_mid_stream(caller, worker):
    """An error in place of the last chunk."""
    worker.faults = Faults(error_after=2, error_code="INTERNAL")
    reply = await caller.http.post("/completion", json={"prompt": "a", "stream": True})
    last = json.loads(reply.text.strip().splitlines()[-1][6:])
    assert last["error"]["type"] == "server_error"


async def test_tokens_there_and_back(caller, worker):
    """Ids, their pieces, and the text again."""
    text = "hello little bees"
    ids = (await caller.http.post("/tokenize", json={"content": text})).json()["tokens"]
    pieces = await caller.http.post("/tokenize", json={"content": text, "with_pieces": True})
    back = await caller.http.post("/detokenize", json={"tokens": ids})
    assert len(ids) == 3
    assert "".join(one["piece"] for one in pieces.json()["tokens"]) == text
    assert [one["id"] for one in pieces.json()["tokens"]] == ids
    assert back.json() == {"content": text}
    assert worker.seen.executions == 0


async def test_ids_that_there_are_not(caller, worker):
    """The worker's refusal, in llama.cpp's shape."""
    reply = await caller.http.post("/detokenize", json={"tokens": [12345]})
    assert reply.status_code == 400
    assert "token ids lie between" in reply.json()["error"]["message"]


async def test_the_template(caller, worker):
    """The prompt that a conversation becomes."""
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    reply = await caller.http.post("/apply-template", json={"messages": messages})
    assert reply.json() == {"prompt": "Be brief.\nHi"}


async def test_props_and_slots(caller, worker):
    """What the workers are set to; a slot that works says for whom, to whoever may know."""
    props = (await caller.http.get("/props")).json()
    assert (props["total_slots"], props["default_generation_settings"]["n_ctx"]) == (4, 4096)
    assert props["chat_template"]
    slots = (await caller.http.get("/slots", params={"model": "demo"})).json()
    assert [slot["is_processing"] for slot in slots] == [False] * 4


async def test_which_model_is_asked_where_there_are_several(caller, hive, worker):
    """400 with the names there are."""
    await hive.add(FakeWorker("w2", model="other"))
    await caller.until(lambda: "w2" in caller.queen.registry.workers)
    reply = await caller.http.post("/completion", json={"prompt": "a"})
    assert reply.status_code == 400
    assert "demo, other" in reply.json()["error"]["message"]
    named = await caller.http.post("/completion", json={"prompt": "a", "model": "other"})
    assert named.status_code == 200


async def test_a_model_is_loaded_to_be_asked(caller, hive, worker):
    """Where no worker has it, one is started, and nothing is generated."""
    await caller.http.delete("/v2/workers/w1")
    reply = await caller.http.post("/tokenize", json={"content": "a b", "model": "demo"})
    assert reply.status_code == 200
    assert len(hive.spawns) == 1
    unnamed = await caller.http.get("/props", params={"model": "nope"})
    assert unnamed.status_code == 404


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_openais_answers_have_timings_too(caller, worker, path):
    """In a whole answer, and in the chunk that ends a stream; not where several tasks made it."""
    asked = (
        {"prompt": "a b"}
        if path == "/v1/completions"
        else {"messages": [{"role": "user", "content": "a b"}]}
    )
    body = {"model": "demo", "max_tokens": 3, **asked}
    whole = (await caller.http.post(path, json=body)).json()
    text = (await caller.http.post(path, json={**body, "stream": True})).text
    two = (await caller.http.post(path, json={**body, "n": 2})).json()
    lines = [line[6:] for line in text.splitlines() if line.startswith("data: {")]
    timed = [one["timings"] for one in map(json.loads, lines) if "timings" in one]
    assert (whole["timings"]["prompt_n"], whole["timings"]["predicted_n"]) == (2, 3)
    assert [one["predicted_n"] for one in timed] == [3]
    assert "timings" not in two
