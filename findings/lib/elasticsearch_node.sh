# Sourced by the scripts beside: starts Elasticsearch $VERSION in a temporary folder, which goes when
# the script ends, and sets $url. Needs mvn, curl, python3 and Java 21+: ES_JAVA_HOME, JAVA_HOME, or in
# /usr/lib/jvm.
set -euo pipefail

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
java=${ES_JAVA_HOME:-${JAVA_HOME:-$(ls -d /usr/lib/jvm/*2[1-9]* 2> /dev/null | tail -1 || true)}}
run=(env "ES_JAVA_OPTS=-Xms512m -Xmx512m" "ES_JAVA_HOME=$java")
if [ "$(id -u)" = 0 ]; then
  chown -R nobody "$folder/node"
  run=(setpriv --reuid nobody --clear-groups "${run[@]}" "HOME=$folder/node")
fi
"${run[@]}" "$folder/node/bin/elasticsearch" > "$folder/log" 2>&1 &
node=$!

source "$(dirname "${BASH_SOURCE[0]}")/node.sh"
await_node 'publish_address \{127\.0\.0\.1:192[0-9]+'
