#!/usr/bin/env bash
# more_like_this with the text of a document ("doc") goes by all fields of that document, whatever
# the query's "fields" say; with the id of the same document it goes by those fields.
#
# Version:  Elasticsearch 9.5.0 (Maven: org.elasticsearch.distribution.integ-test-zip), Java 21+.
# Expected: like title "red" alone, so no hit for a document that shares the note only.
# Seen:     the document that shares the note is found, and the query reads "note:stone title:red".
#
# It matters to whoever shows related images by a document's text instead of its id: leave the other
# fields out of the text.
VERSION=9.5.0
source "$(dirname "$0")/lib/elasticsearch_node.sh"

ask PUT images '{"settings":{"number_of_shards":1},"mappings":{"properties":
  {"title":{"type":"text"},"note":{"type":"text"}}}}' > /dev/null
fill images $'{"index":{"_id":"1"}}\n{"title":"red apple","note":"stone"}
{"index":{"_id":"2"}}\n{"title":"green pear","note":"stone"}\n'
found() {
  ask POST 'images/_search?filter_path=hits.hits._id' '{"query":{"more_like_this":{"fields":["title"],
    "min_term_freq":1,"min_doc_freq":1,"include":true,"like":['"$1"']}}}' |
    grep -oE '"_id":"[0-9]"' | grep -oE '[0-9]' | sort | tr -d '\n'
}
by_text=$(found '{"doc":{"title":"red apple","note":"stone"}}')
by_id=$(found '{"_id":"1"}')
echo "found by text: $by_text; by id: $by_id"
as_described test "$by_text $by_id" = "12 1"
