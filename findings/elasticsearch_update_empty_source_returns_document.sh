#!/usr/bin/env bash
# An update that asks for an empty list of source fields, or for an empty text, gives the whole
# document back.
#
# Version:  Elasticsearch 9.5.0 (Maven: org.elasticsearch.distribution.integ-test-zip), Java 21+.
# Expected: no 'get' in the answer, as without '_source'; or one without fields.
# Seen:     'get' with all fields, for '_source': [] in the body, and for ?_source= and
#           ?_source_excludes= in the address.
#
# It matters to whoever lets others write what they must not read: whether an option is set says
# more than whether it is empty.
VERSION=9.5.0
source "$(dirname "$0")/lib/elasticsearch_node.sh"

fill wares $'{"index":{"_id":"1"}}\n{"name":"lamp","price":3}\n'
plain=$(ask POST wares/_update/1 '{"doc":{"seen":1}}')
in_body=$(ask POST wares/_update/1 '{"doc":{"seen":2},"_source":[]}')
in_address=$(ask POST 'wares/_update/1?_source=' '{"doc":{"seen":3}}')
excludes=$(ask POST 'wares/_update/1?_source_excludes=' '{"doc":{"seen":4}}')
printf '%s\n' "$plain" "$in_body" "$in_address" "$excludes"
given_back() {
  ! grep -q '"name":"lamp"' <<< "$plain" && grep -q '"name":"lamp"' <<< "$in_body" &&
    grep -q '"name":"lamp"' <<< "$in_address" && grep -q '"name":"lamp"' <<< "$excludes"
}
as_described given_back
