"""From a request body to one whose answer obeys a decision."""
