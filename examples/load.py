"""Puts load on a server: good requests, clients that go away, broken bodies, broken and huge images.

    python load.py http://127.0.0.1:8000 --requests 10000 --clients 16 --pid PID

Prints what came back, and with the server's process on Linux its memory as it goes. Fails at the
first answer with status 500 or above other than 503, and if work is left behind. Needs nothing but
Python.
"""

import argparse
import asyncio
import base64
import collections
import json
import random
import struct
import time
import urllib.parse
import zlib


def png(width, height, rows=None):
    """A grey picture; with few `rows`, one that promises more than it holds."""
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress((b"\0" + bytes([random.randrange(256)]) * width) * (rows or height))
    start = b"\x89PNG\r\n\x1a\n"
    return start + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def question(image, stream=False, tokens=16):
    url = "data:image/png;base64," + base64.b64encode(image).decode()
    content = [{"type": "image_url", "image_url": {"url": url}},
               {"type": "text", "text": f"What is number {random.randrange(50)}?"}]
    return {"messages": [{"role": "user", "content": content}], "max_tokens": tokens,
            "temperature": random.choice([0, 1]), "stream": stream}


LARGE = png(3000, 2000)


def body_of(kind):
    if kind == "broken body":
        whole = json.dumps(question(png(8, 8))).encode()
        cut = whole[:random.randrange(len(whole))]
        return random.choice([cut, random.randbytes(200), b"[" * 100_000, b"", b"null"])
    if kind == "broken image":
        image = bytearray(png(16, 16))
        image[random.randrange(8, len(image))] ^= 255
        return json.dumps(question(bytes(image[:random.randrange(len(image))]))).encode()
    if kind == "bomb":
        return json.dumps(question(png(60_000, 60_000, rows=1))).encode()
    if kind == "odd values":
        odd = [None, -1, 1e300, "x", [], {}, True, 0, 2**63]
        asked = question(png(8, 8))
        asked[random.choice([*asked, "n", "stop", "seed", "top_p", "logprobs"])] = random.choice(odd)
        return json.dumps(asked).encode()
    if kind == "large image":
        return json.dumps(question(LARGE)).encode()
    return json.dumps(question(png(8, 8), stream="stream" in kind)).encode()


def memory(pid):
    """The resident memory of a process in MiB."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) >> 10 for line in status if line.startswith("VmRSS"))


async def left_behind(address):
    """How many requests the server still has to do, when it has had time to notice who left."""
    for _ in range(100):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"GET /health HTTP/1.1\r\nhost: load\r\nconnection: close\r\n\r\n")
        health = json.loads((await reader.read()).split(b"\r\n\r\n")[1])
        writer.close()
        if health["running"] + health["waiting"] == 0:
            return 0
        await asyncio.sleep(0.1)
    return health["running"] + health["waiting"]


async def one(address, kind):
    body = body_of(kind)
    reader, writer = await asyncio.open_connection(*address)
    try:
        head = (f"POST /v1/chat/completions HTTP/1.1\r\nhost: load\r\nconnection: close\r\n"
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n")
        writer.write(head.encode() + body)
        await writer.drain()
        if kind.startswith("leaves"):
            await asyncio.sleep(random.random() * 0.05)
            if random.random() < 0.5:
                await reader.read(100)
            return "left"
        answer = await reader.read()
        status = int(answer[9:12])
        if status == 200 and "stream" in kind and not answer.rstrip(b"\r\n0").endswith(b"[DONE]"):
            return "cut short"
        return status
    except ConnectionError:
        return "connection closed"
    finally:
        writer.close()


KINDS = ["whole", "whole", "stream", "stream", "leaves", "leaves stream", "broken body",
         "broken image", "large image", "bomb", "odd values"]


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--pid", type=int, help="the server's process, to watch its memory")
    args = parser.parse_args()
    url = urllib.parse.urlsplit(args.url)
    address = (url.hostname, url.port or 80)
    left, seen = args.requests, collections.Counter()
    started = time.monotonic()

    async def client():
        nonlocal left
        while left > 0:
            left -= 1
            if args.pid and left % max(1, args.requests // 10) == 0:
                print(f"{args.requests - left:7} sent, {memory(args.pid)} MiB", flush=True)
            kind = random.choice(KINDS)
            result = await asyncio.wait_for(one(address, kind), 600)
            seen[kind, result] += 1
            if isinstance(result, int) and result >= 500 and result != 503:
                raise SystemExit(f"{kind}: status {result}")

    await asyncio.gather(*(client() for _ in range(args.clients)))
    for (kind, result), count in sorted(seen.items(), key=str):
        print(f"{count:7} {kind}: {result}")
    print(f"{args.requests} requests in {time.monotonic() - started:.1f} s")
    remaining = await left_behind(address)
    if remaining or any(result == "cut short" for _, result in seen):
        raise SystemExit(f"{remaining} requests are left behind, or answers were cut short")


if __name__ == "__main__":
    asyncio.run(main())
