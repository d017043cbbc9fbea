#!/usr/bin/env bash
# The same with curl, as a person would type it.
set -euo pipefail
for level in off moderate strict; do
  key=$(python3 -c "import json,os,sys; print(json.loads(os.environ['KEYS'])[sys.argv[1]])" "$level")
  ask() { curl -s -H "Authorization: ApiKey $key" -H 'Content-Type: application/json' "$@"; }
  ids() { python3 -c 'import json,sys; print(json.dumps(sorted(h["_id"] for l in sys.stdin for h in json.loads(l)["hits"]["hits"])))'; }
  found=$(ask "$GATEWAY/$INDEX/_search" -d '{"query": {"match": {"title": "cat"}}, "size": 20}')
  pages=$(for from in 0 2 4; do ask "$GATEWAY/$INDEX/_search?from=$from&size=2"; echo; done | ids)
  count=$(ask "$GATEWAY/$INDEX/_count" | python3 -c 'import json,sys; print(json.load(sys.stdin)["count"])')
  got=()
  for id in $(python3 -c "import json,os; print(*sorted(json.loads(os.environ['IDS'])))"); do
    [ "$(ask -I -o /dev/null -w '%{http_code}' "$GATEWAY/$INDEX/_doc/$id")" = 404 ] || got+=("\"$id\"")
  done
  refused=$(ask -o /dev/null -w '%{http_code}' "$GATEWAY/_cat/indices")
  printf '{"client":"curl","level":"%s","search":%s,"pages":%s,"count":%s,"got":[%s],"refused":%s,"text":%s}\n' \
    "$level" "$(ids <<< "$found")" "$pages" "$count" "$(IFS=,; echo "${got[*]}")" "$refused" "$found"
done
