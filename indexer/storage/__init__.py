"""Documents in Elasticsearch: reading them by their keys, and storing what is found out."""
