"""Fetch, decode and score a document's images, and store the result."""
