#!/usr/bin/env bash
# The sort values that Elasticsearch gives with a hit are no cursor where the field is missing and
# the sort has a date format: sent back unchanged, as paging does, they are answered with status 500.
#
# Version:  Elasticsearch 9.5.0 (Maven: org.elasticsearch.distribution.integ-test-zip), Java 21+.
# Expected: the next page.
# Seen:     the hit has "sort":[null,0], and search_after with it 'Cannot invoke
#           "java.lang.Long.longValue()"'. Without a format the hit has a number there, which works.
#
# It matters to whoever pages by a date that not every document has.
VERSION=9.5.0
source "$(dirname "$0")/lib/elasticsearch_node.sh"

ask PUT images '{"settings":{"number_of_shards":1},"mappings":{"properties":
  {"created":{"type":"date"},"number":{"type":"integer"}}}}' > /dev/null
fill images $'{"index":{}}\n{"number":0}\n{"index":{}}\n{"number":1,"created":"2024-01-01"}
{"index":{}}\n{"number":2}\n'
page() {
  ask POST images/_search '{"size":2,"sort":[{"created":{"order":"desc"'"$1"'}},{"number":"asc"}]'"$2"'}'
}
cursor() { grep -oE '"sort":\[[^]]*\]' | tail -1 | cut -d: -f2; }
formatted=$(page ',"format":"yyyy"' '' | cursor)
plain=$(page '' '' | cursor)
refusal=$(page ',"format":"yyyy"' ',"search_after":'"$formatted")
followed=$(page '' ',"search_after":'"$plain")
echo "cursors: $formatted with a format, $plain without"
echo "next page with a format: ${refusal:0:160}"
own_cursor_fails() {
  [ "$formatted" = '[null,0]' ] && grep -q '"status":500' <<< "$refusal" &&
    grep -q '"number":2' <<< "$followed"
}
as_described own_cursor_fails
