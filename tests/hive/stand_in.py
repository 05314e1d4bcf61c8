"""A worker that computes nothing and misbehaves as it is told: by the JSON file of GGML_STAND_IN.

``load_s``: seconds until it is ready; ``refuse``: its last words instead of that; ``crash``: it
ends with this code once it is ready; ``deaf``: it heeds neither /shutdown nor SIGTERM; ``hold``:
bytes that it holds on the GPU that its environment shows it; ``say``: bytes that it logs.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

parser = argparse.ArgumentParser()
for name in ("worker-id", "model", "host", "callback-url", "device", "kv-type"):
    parser.add_argument(f"--{name}")
for name in ("port", "ctx", "slots", "threads"):
    parser.add_argument(f"--{name}", type=int)
args = parser.parse_args()
told = Path(os.environ["GGML_STAND_IN"])
behaviour = json.loads(told.read_text())
starts = told.with_suffix(".starts")
with starts.open("a") as file:
    file.write(json.dumps({"pid": os.getpid(), "argv": sys.argv, "env": dict(os.environ)}) + "\n")
began = time.monotonic()
if behaviour.get("refuse"):
    sys.exit("error: " + behaviour["refuse"])
if behaviour.get("deaf"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if behaviour.get("hold"):
    uuids = os.environ["CUDA_VISIBLE_DEVICES"]
    gpu = 0 if uuids.startswith("GPU-aaaa0000") else 1
    folder = Path(behaviour["driver"]) / f"gpu{gpu}.held"
    folder.mkdir(exist_ok=True)
    (folder / str(os.getpid())).write_text(str(behaviour["hold"]))
if behaviour.get("say"):
    sys.stderr.write("x" * 99 + "\n")
    for number in range(behaviour["say"] // 100):
        sys.stderr.write(f"{number:099}\n")
    sys.stderr.flush()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        loaded = (time.monotonic() - began) / max(behaviour.get("load_s", 0), 1e-6)
        ready = loaded >= 1
        self.answer(
            200 if ready else 503,
            {
                "status": "ready" if ready else "loading",
                "worker_id": args.worker_id,
                "model": os.environ["RBEE_MODEL_ID"],
                "load_progress": min(1.0, loaded),
                "slots": args.slots,
                "context": args.ctx,
                "device": args.device,
            },
        )
        if ready and behaviour.get("crash") is not None:
            sys.stderr.write("the end is near\n")
            sys.stderr.flush()
            threading.Timer(0.05, os._exit, [behaviour["crash"]]).start()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        with told.with_suffix(".shutdowns").open("a") as file:
            file.write(f"{os.getpid()}\n")
        self.answer(202, {})
        if not behaviour.get("deaf"):
            threading.Timer(behaviour.get("drain_s", 0), os._exit, [0]).start()

    def answer(self, status: int, body: dict) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


ThreadingHTTPServer(("127.0.0.1", args.port), Handler).serve_forever()
