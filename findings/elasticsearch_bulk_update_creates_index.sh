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
set -euo pipefail

VERSION=9.5.0
folder=$(mktemp -d)
chmod 755 "$folder"
trap 'kill "${node:-}" 2>/dev/null || true; sleep 1; rm -rf "$folder"' EXIT

mvn -q dependency:copy "-DoutputDirectory=$folder" \
  "-Dartifact=org.elasticsearch.distribution.integ-test-zip:elasticsearch:$VERSION:zip"
(cd "$folder" && python3 -m zipfile -e ./*.zip . && mv "elasticsearch-$VERSION" node)
chmod +x "$folder"/node/bin/* && find "$folder/node" -path '*/bin/*' -type f -exec chmod +x {} +
cat > "$folder/node/config/elasticsearch.yml" <<SETTINGS
discovery.type: single-node
xpack.security.enabled: false
http.host: 127.0.0.1
http.port: 19250-19290
transport.port: 19350-19390
SETTINGS
run=(env "ES_JAVA_OPTS=-Xms512m -Xmx512m" "ES_JAVA_HOME=${ES_JAVA_HOME:-${JAVA_HOME:-}}")
if [ "$(id -u)" = 0 ]; then
  chown -R nobody "$folder/node"
  run=(setpriv --reuid nobody --clear-groups "${run[@]}" "HOME=$folder/node")
fi
"${run[@]}" "$folder/node/bin/elasticsearch" > "$folder/log" 2>&1 &
node=$!

url=
for _ in $(seq 120); do
  port=$(grep -oE 'publish_address \{127\.0\.0\.1:192[0-9]+' "$folder/log" | tail -1 | grep -oE '[0-9]+$' || true)
  if [ -n "$port" ] && curl -sf "http://127.0.0.1:$port/_cluster/health" > /dev/null; then
    url=http://127.0.0.1:$port
    break
  fi
  sleep 1
done
[ -n "$url" ] || { tail -5 "$folder/log" >&2; echo "the node did not start" >&2; exit 2; }

answer=$(curl -s -H 'Content-Type: application/x-ndjson' "$url/_bulk" --data-binary \
  $'{"update":{"_index":"absent","_id":"1","if_seq_no":1,"if_primary_term":1}}\n{"doc":{"a":1}}\n')
exists=$(curl -s -o /dev/null -w '%{http_code}' -I "$url/absent")
echo "bulk: $answer"
echo "HEAD /absent: $exists"
grep -q '"status":404' <<< "$answer" && [ "$exists" = 200 ] && echo "as described" && exit 0
echo "no longer as described" >&2
exit 1
