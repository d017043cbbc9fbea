"""Query time: policy, demotion, rewriting of requests, explanation."""
