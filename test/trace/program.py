# SPDX-License-Identifier: Apache-2.0
"""What the trace test has Python do: deterministic output, much of libc."""
import collections
import concurrent.futures
import contextlib
import ctypes
import decimal
import functools
import hashlib
import heapq
import io
import itertools
import json
import math
import os
import pickle
import queue
import random
import re
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib


class Broken(Exception):
    pass


def section(name):
    print(f"== {name}")


def recurse(depth):
    if depth == 0:
        raise Broken("at the bottom")
    try:
        recurse(depth - 1)
    finally:
        recurse.unwound += 1


def exceptions():
    section("exceptions")
    recurse.unwound = 0
    for depth in range(1, 200):
        try:
            recurse(depth)
        except Broken as error:
            assert str(error) == "at the bottom"
    print(recurse.unwound)
    caught = collections.Counter()
    for i in range(2000):
        try:
            if i % 3 == 0:
                raise ValueError(i)
            if i % 3 == 1:
                {}["missing"]
            else:
                1 // 0
        except (ValueError, KeyError, ZeroDivisionError) as error:
            caught[type(error).__name__] += 1
    print(sorted(caught.items()))
    try:
        (lambda f: f(f))(lambda f: f(f))
    except RecursionError:
        print("recursion stopped")
    with contextlib.suppress(OSError):
        open("/nonexistent/file")
    try:
        raise Broken("outer") from ValueError("inner")
    except Broken as error:
        print(repr(error.__cause__))


def threads():
    section("threads")
    results = {}
    lock = threading.Lock()
    barrier = threading.Barrier(8)

    def work(number):
        barrier.wait()
        digest = hashlib.sha256()
        for i in range(500):
            digest.update(f"{number}-{i}".encode())
        data = sorted(range(2000), key=lambda n: (n * 7919 + number) % 1999)
        with lock:
            results[number] = digest.hexdigest()[:16], data[:3]

    workers = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for number in sorted(results):
        print(number, *results[number])

    jobs, done = queue.Queue(), queue.Queue()

    def consume():
        while (job := jobs.get()) is not None:
            done.put(job * job)

    consumers = [threading.Thread(target=consume) for _ in range(4)]
    for consumer in consumers:
        consumer.start()
    for i in range(1000):
        jobs.put(i)
    for _ in consumers:
        jobs.put(None)
    for consumer in consumers:
        consumer.join()
    print(sum(done.get() for _ in range(done.qsize())))

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        print(sum(pool.map(lambda n: math.comb(n, 5), range(300))))
        failing = [pool.submit(int, text) for text in ("1", "x", "3")]
        print([str(f.exception()) for f in failing])
    for _ in range(200):  # short lives
        thread = threading.Thread(target=lambda: os.getpid())
        thread.start()
        thread.join()
    event = threading.Event()
    timer = threading.Timer(0.02, event.set)
    timer.start()
    print(event.wait(10))


def processes():
    section("processes")
    for command in (["echo", "hello"], ["sh", "-c", "exit 9"],
                    ["cat"], ["sh", "-c", "kill -TERM $$"]):
        result = subprocess.run(command, input=b"to cat", capture_output=True)
        print(command[0], result.returncode, result.stdout)
    pipe = subprocess.Popen(["sort"], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE)
    out, _ = pipe.communicate(b"\n".join(str(i * 37 % 1000).encode()
                                         for i in range(1000)))
    print(hashlib.md5(out).hexdigest())
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.write(writer, json.dumps([i ** 2 for i in range(100)]).encode())
        os._exit(5)
    os.close(writer)
    data = b""
    while chunk := os.read(reader, 100):
        data += chunk
    print(len(json.loads(data)), os.waitstatus_to_exitcode(
        os.waitpid(child, 0)[1]))
    sys.stdout.flush()
    children = []
    for number in range(5):
        pid = os.fork()
        if pid == 0:
            threading.Thread(target=lambda: None).start()
            os._exit(number)
        children.append(pid)
    print([os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]) for p in children])


def signals():
    section("signals")
    count = 0

    def handler(number, frame):
        nonlocal count
        count += 1

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    text = ""
    deadline = time.monotonic() + 20
    while count < 50 and time.monotonic() < deadline:
        text = "".join(sorted("the quick brown fox" * 20))
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(count >= 50, len(text))
    previous = signal.signal(signal.SIGUSR1, lambda *_: print("usr1"))
    os.kill(os.getpid(), signal.SIGUSR1)
    print(previous is signal.SIG_DFL)


def files():
    section("files")
    with tempfile.TemporaryDirectory() as folder:
        for i in range(100):
            with open(os.path.join(folder, f"{i:03}"), "w") as file:
                file.write("x" * i)
        print(sum(e.stat().st_size for e in os.scandir(folder)))
        path = os.path.join(folder, "db")
        base = sqlite3.connect(path)
        base.execute("create table t (a integer, b text)")
        base.executemany("insert into t values (?, ?)",
                         ((i, str(i * i)) for i in range(2000)))
        base.commit()
        print(base.execute("select sum(a), max(length(b)) from t").fetchone())
        base.close()
        os.rename(path, path + "2")
        print(os.path.exists(path), len(os.listdir(folder)))
    left, right = socket.socketpair()
    left.sendall(b"y" * 5000)
    left.shutdown(socket.SHUT_WR)
    total = 0
    while chunk := right.recv(777):
        total += len(chunk)
    print(total)


def computing():
    section("computing")
    generator = random.Random(42)
    data = bytes(generator.randrange(256) for _ in range(50000))
    packed = zlib.compress(data * 4)
    print(zlib.crc32(packed), len(zlib.decompress(packed)))
    print(hashlib.sha1(pickle.dumps(list(range(5000)))).hexdigest())
    heap = [generator.random() for _ in range(5000)]
    heapq.heapify(heap)
    print([f"{heapq.heappop(heap):.6f}" for _ in range(3)])
    words = re.findall(r"[a-z]+", "alpha beta, gamma; " * 500)
    print(collections.Counter(words).most_common())
    decimal.getcontext().prec = 60
    print(decimal.Decimal(2).sqrt())

    @functools.lru_cache(None)
    def fibonacci(n):
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    print(fibonacci(300))
    print(sum(map(math.prod, itertools.combinations(range(1, 15), 4))))
    print(struct.pack("<dfq", math.pi, math.e, -5).hex())
    text = io.StringIO()
    for i in range(3000):
        text.write(f"{i:x},")
    print(hashlib.md5(text.getvalue().encode()).hexdigest())
    libc = ctypes.CDLL(None)
    libc.strtol.restype = ctypes.c_long
    print(libc.strlen(b"twelve chars"), libc.strtol(b"-77", None, 10))
    print(f"{math.sin(1):.15f} {math.exp(2.5):.12f} {10 ** 50 % 97}")


def main():
    exceptions()
    threads()
    processes()
    signals()
    files()
    computing()
    print("to stderr", file=sys.stderr)
    sys.exit(23)


if __name__ == "__main__":
    main()
