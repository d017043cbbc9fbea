#!/usr/bin/env bash
# A rescorer retriever and a diversify retriever take a min_score and do nothing with it.
#
# Version:  Elasticsearch 9.5.0 (Maven: org.elasticsearch.distribution.integ-test-zip), Java 21+.
# Expected: no hit below the bound, as of a standard retriever inside, or an error, as for any
#           parameter that a retriever does not know.
# Seen:     all hits. The bound of the standard retriever inside is obeyed.
#
# It matters to whoever cuts off weak hits after rescoring: nothing is cut off.
VERSION=9.5.0
source "$(dirname "$0")/lib/elasticsearch_node.sh"

ask PUT images '{"mappings":{"properties":{"v":{"type":"dense_vector","dims":2},
  "all":{"type":"keyword"}}}}' > /dev/null
fill images $'{"index":{}}\n{"v":[0.0,9.0],"all":"a"}\n{"index":{}}\n{"v":[9.0,0.0],"all":"a"}\n'
count() {
  ask POST 'images/_search?filter_path=hits.total.value' '{"retriever":{'"$1"'}}' | grep -oE '[0-9]+'
}
found() {
  echo '"retriever":{"standard":{"query":{"constant_score":{"filter":{"term":{"all":"a"}}}}'"$1"'}}'
}
twice='"rescore":{"window_size":10,"query":{"rescore_query":{"match_all":{}}}}'
mmr='"type":"mmr","field":"v","lambda":0.5,"query_vector":[1.0,0.0],"size":10'
rescorer=$(count '"rescorer":{'"$(found '')"','"$twice"',"min_score":5}')
diversify=$(count '"diversify":{'"$(found '')"','"$mmr"',"min_score":5}')
inside=$(count '"rescorer":{'"$(found ',"min_score":5')"','"$twice"'}')
echo "hits with min_score 5: rescorer $rescorer (of score 2), diversify $diversify (of score 1)," \
  "bound inside the rescorer $inside"
as_described test "$rescorer $diversify $inside" = "2 2 0"
