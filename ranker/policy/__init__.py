"""From the context of a request to the decision that holds for it."""
