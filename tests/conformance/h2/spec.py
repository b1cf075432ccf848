"""Runs the cases of cases.py and prints each verdict.

usage: spec.py [--only PREFIX] [--timeout S] [--at-least N] [URL...]

Without a URL (tls://HOST:PORT or h2c://HOST:PORT) spliceway is started, with a backend behind it, and asked over
both. The strict case is run and shown, and not among the 146. Exit status 1 where fewer than N (146) passed."""

import argparse
import concurrent.futures
import sys

import backend
import cases
import proxy
import wire

AT_ONCE = 8


def verdict(case, target):
    """None where it passed, else why not."""
    try:
        connection = wire.Connection(target)
    except OSError as error:
        return f"no connection: {error}"
    try:
        if case.shaken:
            connection.shake()
        case.run(connection)
        return None
    except wire.Failed as failed:
        return str(failed)
    finally:
        connection.close()


def run(target, chosen):
    """How many of the counted cases passed, and how many there are."""
    print(f"--- {target.url}")
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        verdicts = list(pool.map(lambda case: verdict(case, target), chosen))
    for case, why in zip(chosen, verdicts):
        strict = " (strict)" if case.strict else ""
        print(f"{'ok  ' if why is None else 'FAIL'} {case.id} {case.name}{strict}" + (f": {why}" if why else ""))
    counted = [why for case, why in zip(chosen, verdicts) if not case.strict]
    passed = counted.count(None)
    print(f"{target.url}: {passed} of {len(counted)} cases passed")
    return passed, len(counted)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="PREFIX", help="cases whose number begins so, as http2/6.9")
    parser.add_argument("--timeout", type=float, default=5, metavar="S", help="for each frame; h2spec has 2")
    parser.add_argument("--at-least", type=int, default=146, metavar="N")
    parser.add_argument("url", nargs="*")
    options = parser.parse_args()
    chosen = [case for case in cases.CASES if case.id.startswith(options.only)]

    def run_all(urls):
        return [run(wire.Target(url, options.timeout), chosen) for url in urls]

    if options.url:
        counts = run_all(options.url)
    else:
        with proxy.Proxy(backend.Backend().url) as under_test:
            counts = run_all([under_test.url("h2c"), under_test.url("tls")])
    missing = max(len(cases.CASES) - 1 - options.at_least, 0)
    good = all(total - passed <= missing for passed, total in counts)
    print(f"{sum(passed for passed, _ in counts)} passed, {sum(total - passed for passed, total in counts)} failed")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
