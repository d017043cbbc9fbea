"""Query time: policy, demotion, rewriting of requests, safe clients, explanation."""

from saferank.ranker.client.client import AsyncSafeSearch, SafeSearch
from saferank.ranker.client.dsl import protect
from saferank.ranker.level.decision import Decision
from saferank.ranker.policy.file import PolicyFile
from saferank.ranker.policy.load import load_policy
from saferank.ranker.policy.policy import Policy
from saferank.ranker.rerank import rerank

__all__ = [
    "AsyncSafeSearch",
    "Decision",
    "Policy",
    "PolicyFile",
    "SafeSearch",
    "load_policy",
    "protect",
    "rerank",
]
