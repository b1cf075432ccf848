"""Pure: a report of wsload becomes figures, several become one row; medians, ratios and their intervals; text tables."""

import math
import statistics

from .workloads import Workload


def extract(workload: Workload, report: dict) -> dict:
    """The figures of one run. `cost` is what a contender is judged by: microseconds of its CPU for each operation, or
    seconds for each gigabyte, or bytes of PSS for each idle socket."""
    figures = {"error": report["first_error"]} if report.get("errors") else {}
    if workload.idle:
        return figures | (_idle(report) if "still_echoing" in report else {})
    if not report.get("operations"):
        return figures if figures else {"error": "no operation was completed"}
    work = report["mb_per_second"] * report["seconds"] / 1e3 if workload.bulk else report["operations"] / 1e6
    cpu = report["cpu_seconds"]
    figures["per_second"] = report["mb_per_second"] if workload.bulk else report["per_second"]
    if work > 0:
        figures["cpu_all"] = cpu["system"] / work
        if "proxy" in cpu:
            figures["cost"] = cpu["proxy"] / work
            figures["proxy_busy"] = cpu["proxy"] / report["seconds"]
    figures["generator_busy"] = (cpu["client"] + cpu["backend"]) / report["seconds"]
    figures |= report.get("latency_us", {})
    if report.get("resumed"):
        figures["resumed_share"] = report["resumed"] / report["operations"]
    return figures


def _idle(report: dict) -> dict:
    shares = report["bytes_per_connection"]
    memory = shares["processes"].get("proxy", {})
    after = report["bytes_per_connection_after_echo"]["processes"].get("proxy", {})
    figures = {
        "cost": memory.get("pss"),
        "after_echo": after.get("pss"),
        "rss": memory.get("rss"),
        "kernel": shares["kernel_sockets"] + shares["kernel_slab"],
        "open_per_second": report["connections"] / report["seconds_to_open"],
        "still_echoing": report["still_echoing"],
    }
    return {name: value for name, value in figures.items() if value is not None}


def summarize(runs: list[dict]) -> dict:
    """The median of each figure over the rounds, the least cost, and all errors."""
    names = sorted({name for run in runs for name in run if name != "error"})
    summary = {name: statistics.median([run[name] for run in runs if name in run]) for name in names}
    costs = [run["cost"] for run in runs if "cost" in run]
    if costs:
        summary["cost_least"] = min(costs)
    errors = sorted({run["error"] for run in runs if "error" in run})
    return summary | ({"errors": errors} if errors else {}) | {"runs": runs}


def ratios(ours: list[dict], theirs: list[dict], figure: str) -> list[float]:
    """Ours by theirs, round by round; a round in which either failed is left out."""
    pairs = zip(ours, theirs, strict=True)
    return [mine[figure] / other[figure] for mine, other in pairs if mine.get(figure) and other.get(figure)]


def interval(values: list[float], wanted: float = 0.95) -> tuple[float, float, float]:
    """The median's interval by order statistics, and the share of cases in which such an interval holds the true median.

    No assumption on how the values are spread: the true median lies below the k-th of n values only where fewer than k
    of them fell below it, and each does with probability 1/2. For 9 values the 2nd and the 8th give 96 %, for 15 the
    4th and the 12th. Fewer than six cannot give 95 %: then it is least and greatest, and the share says so."""
    values = sorted(values)
    n = len(values)
    outside = 2 * 0.5**n
    best = (values[0], values[-1], 1 - outside)
    for k in range(2, n // 2 + 1):
        outside += 2 * math.comb(n, k - 1) * 0.5**n
        if 1 - outside < wanted:
            break
        best = (values[k - 1], values[n - k], 1 - outside)
    return best


def text_table(header: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(row[at]) for row in [header, *rows]) for at in range(len(header))]

    def line(row: list[str]) -> str:
        padded = enumerate(zip(row, widths, strict=True))
        return "  ".join(cell.rjust(width) if at else cell.ljust(width) for at, (cell, width) in padded).rstrip()

    return "\n".join(line(row) for row in [header, *rows])


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def show(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def significant(value: float | None) -> str:
    """Three digits and thousands apart: 10.9, 0.337, 18,147."""
    if value is None:
        return "-"
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{2 - math.floor(math.log10(abs(value)))}f}"
