#!/usr/bin/env bash
# A diversify retriever in a scroll is an error of the server instead of one of the request.
#
# Version:  Elasticsearch 9.5.0 (Maven: org.elasticsearch.distribution.integ-test-zip), Java 21+.
# Expected: 400 "cannot specify [diversify] and [scroll]", as for a rescorer retriever.
# Seen:     500 "Cannot assign field "scroll" because the return value of (...)scrollContext()" is null.
#
# It matters to whoever watches for errors of the server, and to clients that try those again.
VERSION=9.5.0
source "$(dirname "$0")/lib/elasticsearch_node.sh"

ask PUT images '{"mappings":{"properties":{"v":{"type":"dense_vector","dims":2}}}}' > /dev/null
fill images $'{"index":{}}\n{"v":[0.0,9.0]}\n'
status() {
  ask POST 'images/_search?scroll=1m' '{"retriever":{'"$1"'}}' | grep -oE '"status":[0-9]+' |
    tail -1 | cut -d: -f2
}
inside='"retriever":{"standard":{"query":{"match_all":{}}}}'
rescorer=$(status '"rescorer":{'"$inside"',"rescore":{"window_size":10,"query":{"rescore_query":
  {"match_all":{}}}}}')
diversify=$(status '"diversify":{'"$inside"',"type":"mmr","field":"v","lambda":0.5,
  "query_vector":[1.0,0.0]}')
echo "status in a scroll: rescorer $rescorer, diversify $diversify"
as_described test "$rescorer $diversify" = "400 500"
