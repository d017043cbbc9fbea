"""Query time: policy, demotion, rewriting of requests, explanation."""

from saferank.ranker.decision import Decision
from saferank.ranker.policy import Policy, load_policy

__all__ = ["Decision", "Policy", "load_policy"]
