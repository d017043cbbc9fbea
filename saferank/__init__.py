"""saferank: safe-search re-ranking for Elasticsearch.

How an image becomes a rank: ``indexer`` fetches and decodes a document's images, ``models`` turns
each into a probability, ``mappings`` names the fields it is stored in, and ``ranker`` turns a
request's context into a level and hides or demotes by the stored probability.
"""

__version__ = "0.1.0"
