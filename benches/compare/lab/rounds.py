"""Contenders take turns. A slow spell of the machine hits all of them: who is compared, is compared within a round."""

from .contenders import Contender
from .figures import extract
from .laboratory import Laboratory
from .machine import MachineLock
from .workloads import Workload


def take_turns(
    lab: Laboratory, lock: MachineLock, contenders: list[Contender], workload: Workload, rounds: int
) -> dict[str, list[dict]]:
    """Each contender's figures, one entry for each round. Another one begins in each round, so that nobody always has
    the same neighbour's spell before its own."""
    runs = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        lock.before_round()
        at = number % len(contenders)
        for contender in contenders[at:] + contenders[:at]:
            if workload.idle:  # memory is that of a fresh process
                lab.stop(contender)
                lab.start(contender)
            runs[contender.name].append(extract(workload, lab.measure(contender, workload)))
    return runs
