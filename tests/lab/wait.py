"""Waiting for something that takes a moment."""

import time


def eventually(question, limit_s=5.0):
    """Asks until the answer is true or the time is up; returns the last answer."""
    limit = time.monotonic() + limit_s
    while not (answer := question()) and time.monotonic() < limit:
        time.sleep(0.05)
    return answer
