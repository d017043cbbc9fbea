#!/usr/bin/env bash
# The default highlighter marks nothing inside a function_score query that has a min_score.
#
# Version:  Elasticsearch 9.5.0 (Maven: org.elasticsearch.distribution.integ-test-zip), Java 21+.
# Expected: the same highlight with and without min_score: the hit and its query are the same.
# Seen:     no highlight with min_score; a highlight_query brings it back.
#
# It matters to whoever bounds scores after demotion: marked words vanish from the page.
VERSION=9.5.0
source "$(dirname "$0")/lib/elasticsearch_node.sh"

fill images $'{"index":{}}\n{"title":"red apple"}\n'
match='"query":{"match":{"title":"red"}}'
marked() {
  ask POST images/_search '{"query":{"function_score":{'"$1$match"'}},
    "highlight":{"fields":{"title":{'"$2"'}}}}' | grep -c '<em>red</em>' || true
}
without=$(marked '' '') bound=$(marked '"min_score":0.1,' '')
named=$(marked '"min_score":0.1,' '"highlight_query":{"match":{"title":"red"}}')
echo "marked: without $without, with min_score $bound, with highlight_query $named"
as_described test "$without $bound $named" = "1 0 1"
