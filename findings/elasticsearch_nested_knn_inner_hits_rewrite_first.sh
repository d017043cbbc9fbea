#!/usr/bin/env bash
# Nested neighbours with inner hits fail behind a filter that names a field without a mapping.
#
# Version:  Elasticsearch 9.5.0 (Maven: org.elasticsearch.distribution.integ-test-zip), Java 21+.
# Expected: the neighbours: a clause on a field that no document has matches nothing, as it does
#           everywhere else, and as it does here without inner hits.
# Seen:     status 500, "Rewrite first", also where the clause stands under 'must_not'.
#
# It matters to whoever puts a filter around other people's queries, on a field that older indices
# lack.
VERSION=9.5.0
source "$(dirname "$0")/lib/elasticsearch_node.sh"

ask PUT wares '{"mappings": {"properties": {"kind": {"type": "keyword"}, "parts": {"type": "nested",
  "properties": {"v": {"type": "dense_vector", "dims": 2, "similarity": "l2_norm"}}}}}}' > /dev/null
fill wares $'{"index":{"_id":"1"}}\n{"kind":"lamp","parts":[{"v":[1,2]}]}\n'
nearest() {
  ask POST wares/_search '{"knn": {"field": "parts.v", "query_vector": [1, 2], "k": 1,
    "num_candidates": 5, "filter": {"bool": {"must_not": [{"term": {"'"$1"'": "x"}}]}}'"$2"'}}'
}
mapped=$(nearest kind ', "inner_hits": {}')
without=$(nearest unknown '')
unmapped=$(nearest unknown ', "inner_hits": {}')
printf '%s\n' "$mapped" "$without" "$unmapped"
fails_with_inner_hits_only() {
  grep -q '"_id":"1"' <<< "$mapped" && grep -q '"_id":"1"' <<< "$without" &&
    grep -q 'Rewrite first' <<< "$unmapped"
}
as_described fails_with_inner_hits_only
