"""References to bytes: http(s), files, data URIs and stores, within limits."""

from saferank.indexer.fetch.fetcher import Fetched, Fetcher

__all__ = ["Fetched", "Fetcher"]
