#!/usr/bin/env bash
# A completion suggester counts the inputs that fit toward its size and then gives each document once,
# so documents with several inputs that begin alike leave places empty, though more documents fit.
#
# Version:  Elasticsearch 9.5.0 (Maven: org.elasticsearch.distribution.integ-test-zip), Java 21+.
# Expected: of 30 documents that fit, a suggester of size 20 gives 20.
# Seen:     10, since each has two inputs; with a size of 60 it gives all 30. OpenSearch 3.8.0 does so, too.
#
# It matters to whoever takes fewer options than the size for all that there are, or fills a list of
# suggestions of that length. Ask for more and cut.
VERSION=9.5.0
source "$(dirname "$0")/lib/elasticsearch_node.sh"

ask PUT i '{"settings":{"number_of_shards":1},"mappings":{"properties":{"c":{"type":"completion"}}}}' > /dev/null
fill i "$(for number in $(seq 30); do
  printf '{"index":{}}\n{"c":{"input":["beach","beach %s"],"weight":%s}}\n' "$number" "$number"
done)
"
given() { # SIZE: how many documents are suggested.
  ask POST i/_search '{"suggest":{"s":{"prefix":"be","completion":{"field":"c","size":'"$1"'}}}}' |
    grep -oE '"text":"beach' | wc -l
}
twenty=$(given 20) all=$(given 60)
echo "of 30 documents: $twenty by a size of 20, $all by a size of 60"
counts_inputs() { [ "$twenty" = 10 ] && [ "$all" = 30 ]; }
as_described counts_inputs
