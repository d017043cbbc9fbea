"""The engines that are not Elasticsearch: what they do otherwise, and nobody else has to know it.

The product speaks Elasticsearch's HTTP by Elasticsearch's client. ``opensearch`` says how a request
reads in OpenSearch's, ``transports`` sends it and reads the answer back, and ``engine`` is what a
safe client asks of the client that an application gave it.
"""
