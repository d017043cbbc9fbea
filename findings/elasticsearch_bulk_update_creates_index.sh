#!/usr/bin/env bash
# A conditional bulk update of a document in an index that does not exist answers 404, and makes
# the index all the same.
#
# Version:  Elasticsearch 9.5.0 (Maven: org.elasticsearch.distribution.integ-test-zip), Java 21+.
# Expected: 404 and no index, as 'if_seq_no' can only hold for a document that is there.
# Seen:     404 'document_missing_exception', and an empty index with default settings.
#
# It matters to whoever writes scores back into an index that may be deleted meanwhile: the index
# comes back empty, and its mapping is guessed at the next write.
VERSION=9.5.0
source "$(dirname "$0")/lib/elasticsearch_node.sh"

answer=$(curl -s -H 'Content-Type: application/x-ndjson' "$url/_bulk" --data-binary \
  $'{"update":{"_index":"absent","_id":"1","if_seq_no":1,"if_primary_term":1}}\n{"doc":{"a":1}}\n')
exists=$(curl -s -o /dev/null -w '%{http_code}' -I "$url/absent")
echo "bulk: $answer"
echo "HEAD /absent: $exists"
refused_and_made() { grep -q '"status":404' <<< "$answer" && [ "$exists" = 200 ]; }
as_described refused_and_made
