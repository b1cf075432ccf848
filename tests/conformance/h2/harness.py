"""What the tests of WebSockets over HTTP/2 have in common: asking, failing, and running one after the other."""

import concurrent.futures
import os
import sys
import time
import traceback

import client
import proxy
import websocket
import wire
from wire import Failed


def same(what, is_so, expected):
    if is_so != expected:
        raise Failed(f"{what}: {is_so!r}, not {expected!r}")


def holds(condition, what):
    if not condition:
        raise Failed(what)


def wait_until(condition, what, limit=10):
    end = time.monotonic() + limit
    while not condition():
        holds(time.monotonic() < end, f"not in time: {what}")
        time.sleep(0.02)  # between two looks


def echoes(c, number, stream, text=b"hello"):
    """A message goes there and back."""
    before = len(stream.data)
    expected = websocket.frame(text)
    c.send(number, websocket.frame(text, masked=True))
    c.until(lambda: len(stream.data) >= before + len(expected) or stream.over, "an echo")
    same("the echo", bytes(stream.data[before:]), expected)


def verdict(function, scheme, under_test, backend):
    """None where it passed, else why not."""
    try:
        with client.Client(wire.Target(under_test.url(scheme), 10)) as c:
            c.proxy = under_test
            function(c, backend)
        return None
    except Failed as failed:
        return str(failed)
    except Exception:  # a test that breaks has failed, and the others go on
        return traceback.format_exc()


def run_over(scheme, tests, new_backend, settings):
    """How many passed and failed over one listener."""
    wanted = sys.argv[1:]
    passed = failed = 0
    backend = new_backend()
    with proxy.Proxy(backend.url, settings) as under_test:
        for function, only_tls in tests:
            name = function.__name__
            if only_tls and scheme != "tls" or wanted and not any(word in name for word in wanted):
                continue
            began = time.monotonic()
            why = verdict(function, scheme, under_test, backend)
            took = f"{time.monotonic() - began:.1f} s"
            word = "ok  " if why is None else "FAIL"
            print(f"{word} {scheme} {name}, {took}{'' if why is None else ': ' + why}\n", end="", flush=True)
            passed, failed = passed + (why is None), failed + (why is not None)
    return passed, failed


def run_all(tests, new_backend, settings):
    """Runs them (those whose names hold a word of the command line) over both listeners; the exit status."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        runs = [pool.submit(run_over, scheme, tests, new_backend, settings) for scheme in ("tls", "h2c")]
        counts = [run.result() for run in runs]
    passed, failed = (sum(column) for column in zip(*counts))
    peer = os.environ.get("PEER")
    print(f"{passed} passed, {failed} failed" + (f" ({peer})" if peer else ""))
    return 1 if failed or not passed else 0
