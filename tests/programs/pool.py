"""pool.py TASKS LENGTH: counts the primes below TASKS * LENGTH in a pool of
processes, which get tasks and give results through pipes, take turns by
semaphores, and add up in memory that all share. Prints "task N" for each result
and "primes COUNT COUNT" at the end: from the results, and from that memory."""

import multiprocessing
import sys

length = int(sys.argv[2])
total = turns = None


def begin(shared, semaphore):
    """In each process of the pool."""
    global total, turns
    total, turns = shared, semaphore


def primes(first):
    """How many there are in `length` numbers from the first on."""
    count = sum(
        all(number % divisor for divisor in range(2, int(number**0.5) + 1))
        for number in range(max(first, 2), first + length)
    )
    with turns:
        total.value += count
    return count


if __name__ == "__main__":
    # A server that forks, as is the default since 3.14, is told by sockets.
    context = multiprocessing.get_context("fork")
    total, turns = context.Value("q", 0, lock=False), context.Semaphore(1)
    found = 0
    with context.Pool(3, begin, (total, turns)) as pool:
        starts = range(0, int(sys.argv[1]) * length, length)
        for number, count in enumerate(pool.imap_unordered(primes, starts), 1):
            found += count
            print("task", number, flush=True)
    print("primes", found, total.value, flush=True)
