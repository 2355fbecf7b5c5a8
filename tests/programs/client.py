"""client.py memcached|nginx|nats PORT store|check COUNT: a client of a server
of this machine.

"store" has the server keep what follows from COUNT and makes it count; "check"
looks whether it has kept that, uses it once more, and waits for what the server
does by its timers. Prints what is to be the same each time as "kept ...", and
"ok" at the end.
"""

import json
import re
import socket
import sys
import time
import urllib.request


class Line:
    """A connection on which each side says lines."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.file = self.socket.makefile("rwb")

    def say(self, *lines):
        for line in lines:
            self.file.write(line.encode() + b"\r\n")
        self.file.flush()

    def hear(self, wanted=None):
        line = self.file.readline().decode().rstrip("\r\n")
        assert wanted is None or line == wanted, f"{line!r} instead of {wanted!r}"
        return line

    def close(self):
        self.file.close()
        self.socket.close()


def value(number):
    return f"{number * number} " * (number % 40 + 1)


def memcached(port, stores, count):
    """Values, and a counter that each run makes 5 larger."""
    line = Line(port)
    if stores:
        line.say("set counter 0 0 1", "0")
        line.hear("STORED")
    for number in range(count):
        if stores:
            line.say(f"set key{number} {number} 0 {len(value(number))}", value(number))
            line.hear("STORED")
        else:
            line.say(f"get key{number}")
            line.hear(f"VALUE key{number} {number} {len(value(number))}")
            line.hear(value(number))
            line.hear("END")
    line.say("incr counter 5")
    line.hear("5" if stores else "10")
    # Its clock is a timer.
    line.say("set soon 0 2 4", "gone")
    line.hear("STORED")
    while line.say("get soon") or line.hear() != "END":
        line.hear("gone")
        line.hear("END")
        time.sleep(0.2)
    line.close()


def page(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=60) as answer:
        return answer.read().decode(), answer.headers.get("X-Worker")


def nginx(port, stores, count):
    """Files by all workers, which count requests in memory that they share."""
    workers = set()
    for number in range(count):
        content, worker = page(port, f"{number}.txt")
        assert content == f"{number}\n", content
        workers.add(worker)
    print("kept", *sorted(workers))
    status, _ = page(port, "status")
    requests = int(re.search(r"requests\s+\d+ \d+ (\d+)", status).group(1))
    expected = (count + 1) * (1 if stores else 2)
    assert requests == expected, f"{requests} requests instead of {expected}"


def nats(port, stores, count):
    """What is published is passed on and counted; clients are pinged in time."""
    line, other = Line(port), Line(port)
    pings = 0

    def hear(each):
        nonlocal pings
        while (said := each.hear()) == "PING":
            pings += 1
            each.say("PONG")
        return said

    for each in (line, other):
        assert hear(each).startswith("INFO ")
        each.say('CONNECT {"verbose":false}', "SUB news 1", "PING")
        assert hear(each) == "PONG"
    line.say(*(text for n in range(count) for text in (f"PUB news {len(value(n))}", value(n))))
    for each in (line, other):
        for number in range(count):
            said = hear(each)
            assert said == f"MSG news 1 {len(value(number))}", said
            each.hear(value(number))
    seen = json.loads(page(port + 1, "varz")[0])
    expected = count * (1 if stores else 2)
    assert seen["in_msgs"] == expected, f"{seen['in_msgs']} messages instead of {expected}"
    print("kept", seen["server_id"], seen["start"])
    # By a timer for each client.
    while pings < 3:
        said = line.hear()
        assert said == "PING", said
        pings += 1
        line.say("PONG")
    line.close()
    other.close()


server, port, action, count = sys.argv[1:]
{"memcached": memcached, "nginx": nginx, "nats": nats}[server](int(port), action == "store", int(count))
print("ok")
