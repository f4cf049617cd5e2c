"""Spends its time in two functions of its own."""
import sys
import time


def work(steps):
    state = 1
    for i in range(steps):
        state = (state ^ (state >> 13)) * 5 + i & 0xFFFFFFFF
    return state


def work_seventy():
    return work(7000)


def work_thirty():
    return work(3000)


end = time.monotonic() + float(sys.argv[1]) / 1000
while time.monotonic() < end:
    work_seventy()
    work_thirty()
