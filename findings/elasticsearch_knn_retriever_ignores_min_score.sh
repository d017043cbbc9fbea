#!/usr/bin/env bash
# A knn retriever takes a min_score and does nothing with it; a standard retriever obeys its own.
#
# Version:  Elasticsearch 9.5.0 (Maven: org.elasticsearch.distribution.integ-test-zip), Java 21+.
# Expected: no hit, as the best score is below the bound, or an error, as for any parameter that a
#           retriever does not know.
# Seen:     all k hits.
#
# It matters to whoever cuts off unlike images by a bound: nothing is cut off.
VERSION=9.5.0
source "$(dirname "$0")/lib/elasticsearch_node.sh"

ask PUT images '{"mappings":{"properties":{"v":{"type":"dense_vector","dims":2,
  "similarity":"l2_norm"},"all":{"type":"keyword"}}}}' > /dev/null
fill images $'{"index":{}}\n{"v":[0.0,9.0],"all":"a"}\n{"index":{}}\n{"v":[9.0,0.0],"all":"a"}\n'
count() {
  ask POST 'images/_search?filter_path=hits.total.value' '{"retriever":{'"$1"'}}' | grep -oE '[0-9]+'
}
knn=$(count '"knn":{"field":"v","query_vector":[0.0,0.0],"k":2,"num_candidates":2,"min_score":0.9}')
standard=$(count '"standard":{"query":{"constant_score":{"filter":{"term":{"all":"a"}},"boost":0.1}},
  "min_score":0.9}')
echo "hits with min_score 0.9: knn $knn (their scores are 1/82), standard $standard"
as_described test "$knn $standard" = "2 0"
