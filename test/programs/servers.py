# SPDX-License-Identifier: Apache-2.0
"""Servers, which are loaded by clients that are not traced."""
import hashlib
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

from runs import finish

HERE = pathlib.Path(__file__).resolve().parent
# For a server to start, with the machine busy and thousands of probes.
START_SECONDS = 120


def await_answer(process, ask):
    """Until ask() does not raise OSError."""
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            return ask()
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.05)


def client(run, *command):
    """The output of a client, which is not traced and must not fail."""
    return subprocess.run(command, cwd=run.work, env=run.env, check=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT).stdout.decode()


# ----------------------------------------------------------------- redis

def answers_at(path):
    def ask():
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            if connection.recv(100) != b"+PONG\r\n":
                raise OSError("not ready")

    return ask


def redis(run):
    path = run.work / "socket"
    server = run.start(run.arguments(
        ["redis-server", "--port", "0", "--unixsocket", str(path), "--save",
         "", "--dir", str(run.work), "--logfile", str(run.work / "log"),
         "--enable-debug-command", "local", "--appendonly", "yes"]))
    await_answer(server, answers_at(path))
    requests = 2000 if run.small else 20000
    tests = ("set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,"
             "lrange_100,mset")
    begin = time.monotonic()
    text = client(run, "redis-benchmark", "-s", str(path), "-q", "-n",
                  str(requests), "-c", "20", "-t", tests)
    rates = re.findall(r"([\d.]+) requests per second", text)
    run.cost = (time.monotonic() - begin) / requests / len(rates)
    run.per_request = True
    run.note("kinds of requests", str(len(rates)))
    run.note("errors", "\n".join(re.findall(r".*rror.*", text)))
    commands = (HERE / "commands.redis").read_text().splitlines()
    for number, command in enumerate(commands):
        if command and not command.startswith("#"):
            run.note(f"{number}: {command}",
                     client(run, "redis-cli", "-s", str(path),
                            *command.split("|")))
    while "rdb_bgsave_in_progress:1" in client(
            run, "redis-cli", "-s", str(path), "info", "persistence"):
        time.sleep(0.05)
    run.note("the last saving", re.search(
        r"rdb_last_bgsave_status:\w+", client(
            run, "redis-cli", "-s", str(path), "info", "persistence"))[0])
    client(run, "redis-cli", "-s", str(path), "shutdown")
    run.note_end("server", *finish(server))
    log = (run.work / "log").read_text(errors="replace")
    run.note("log", "\n".join(re.findall(r".*(?:BUG|CRASH|rror).*", log)))


# ----------------------------------------------------------------- nginx

CONFIGURATION = """
daemon off; worker_processes 2; pid {0}/pid; error_log {0}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log {0}/access.log; gzip on; gzip_types text/plain; sendfile on;
  types {{ text/plain txt; text/html html; }}
  client_body_temp_path {0}/body; proxy_temp_path {0}/proxy;
  fastcgi_temp_path {0}/fastcgi; uwsgi_temp_path {0}/uwsgi;
  scgi_temp_path {0}/scgi;
  server {{
    listen 127.0.0.1:{1}; root {0}/www;
    location /again {{ proxy_pass http://127.0.0.1:{1}/index.html; }}
    location /moved {{ return 301 /index.html; }}
  }}
}}
"""
PATHS = ("/", "/big.txt", "/index.html", "/none", "/again", "/moved", "/../x")


def free_port():
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        return some.getsockname()[1]


def fetch(address, **headers):
    """The answer in one line."""
    try:
        request = urllib.request.Request(address, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            body, status = answer.read(), answer.status
            kind = answer.headers.get("Content-Encoding")
    except urllib.error.HTTPError as error:
        body, status, kind = error.read(), error.code, None
    return f"{status} {kind} {len(body)} {hashlib.md5(body).hexdigest()}"


def fetch_all(run, address, when):
    for path in PATHS:
        run.note(f"{path} {when}", fetch(address + path))
        run.note(f"{path} compressed {when}", fetch(
            address + path, **{"Accept-Encoding": "gzip"}))
    run.note(f"a part of /big.txt {when}",
             fetch(address + "/big.txt", Range="bytes=1000-99999"))


def load(run, address):
    """Seconds per request; errors are noted."""
    seconds = 1 if run.small else 5
    text = client(run, "wrk", "-t2", "-c16", f"-d{seconds}s", address)
    run.note(f"errors at {address.rsplit('/')[-1]}", "\n".join(
        re.findall(r".*(?:errors|Non-2xx).*", text)))
    return 1 / float(re.search(r"Requests/sec: *([\d.]+)", text)[1])


def nginx(run):
    (run.work / "www").mkdir()
    (run.work / "www/index.html").write_text("<p>hello\n")
    words = random.Random(1).choices(["one", "two", "three", "\n"], k=50000)
    (run.work / "www/big.txt").write_text(" ".join(words))
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    (run.work / "conf").write_text(CONFIGURATION.format(run.work, port))
    server = run.start(run.arguments(
        ["/usr/sbin/nginx", "-p", str(run.work), "-c",
         str(run.work / "conf")]))
    await_answer(server, lambda: fetch(address + "/"))
    fetch_all(run, address, "at first")
    run.cost = (load(run, address + "/index.html") +
                load(run, address + "/big.txt")) / 2
    run.per_request = True
    pid = int((run.work / "pid").read_text())
    os.kill(pid, signal.SIGHUP)  # new workers take over
    fetch_all(run, address, "with new workers")
    os.kill(pid, signal.SIGQUIT)
    run.note_end("server", *finish(server))
    log = (run.work / "error.log").read_text(errors="replace")
    run.note("error log", "\n".join(sorted(set(
        re.sub(r"^.*?\*\d+ |, client.*", "", entry)
        for entry in re.findall(r"\[(?:error|alert|crit|emerg)\].*", log)))))
