"""The search for the smallest set of DeepSpeed keys that makes the difference, by experiment."""

from hotfire_workers.bisect.search import Bisection, Found

__all__ = ["Bisection", "Found"]
