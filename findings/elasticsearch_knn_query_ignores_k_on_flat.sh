#!/usr/bin/env bash
# A knn query without a graph to search finds every document of the index, whatever its k says; the
# knn section of a search with the same parameters finds k.
#
# Version:  Elasticsearch 9.5.0 (Maven: org.elasticsearch.distribution.integ-test-zip), Java 21+.
# Expected: 5 hits for k = 5, as with hnsw and as the section gives.
# Seen:     50 of 50 documents with flat, int8_flat and int4_flat; 5 with hnsw and bbq_flat.
#
# It matters to whoever turns a knn section into a query, to filter or to combine scores: totals and
# aggregations are then over the whole index.
VERSION=9.5.0
source "$(dirname "$0")/lib/elasticsearch_node.sh"

documents=$(python3 -c '
import random
random.seed(1)
for number in range(50):
    print("{\"index\":{}}")
    print({"v": [random.random() for _ in range(64)]})
' | tr "'" '"')$'\n'
knn='{"field":"v","query_vector":'$(python3 -c 'print([0.5] * 64)')',"k":5,"num_candidates":5}'

found=
for kind in hnsw bbq_flat flat int8_flat int4_flat; do
  ask PUT "$kind" '{"settings":{"number_of_shards":1},"mappings":{"properties":{"v":{"type":
    "dense_vector","dims":64,"similarity":"l2_norm","index_options":{"type":"'"$kind"'"}}}}}' > /dev/null
  fill "$kind" "$documents"
  for body in '{"query":{"knn":'"$knn"'}}' '{"knn":'"$knn"'}'; do
    found+="$(ask POST "$kind/_search?filter_path=hits.total.value" "$body" | grep -oE '[0-9]+') "
  done
  echo "$kind (query, section): $(cut -d' ' -f"$(($(wc -w <<< "$found") - 1))-" <<< "$found")"
done
as_described test "$found" = "5 5 5 5 50 5 50 5 50 5 "
