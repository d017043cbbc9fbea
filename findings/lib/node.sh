# Sourced by the scripts beside, once they have started a node that writes to $folder/log: waits for it
# and sets $url.

# await_node PATTERN: PATTERN is what the node's log says, up to the port that it listens at.
await_node() {
  local port
  url=
  for _ in $(seq 120); do
    port=$(grep -oE "$1" "$folder/log" | tail -1 | grep -oE '[0-9]+$' || true)
    if [ -n "$port" ] && curl -sf "http://127.0.0.1:$port/_cluster/health" > /dev/null; then
      url=http://127.0.0.1:$port
      return
    fi
    sleep 1
  done
  tail -5 "$folder/log" >&2
  echo "the node did not start" >&2
  exit 2
}

# ask METHOD PATH [BODY]: prints the answer.
ask() {
  curl -s -X "$1" -H 'Content-Type: application/json' "$url/$2" ${3:+--data-binary "$3"}
}

# fill INDEX LINES: adds documents, given as the lines of a bulk.
fill() {
  curl -s -H 'Content-Type: application/x-ndjson' "$url/$1/_bulk?refresh=true" --data-binary "$2" |
    grep -q '"errors":false'
}

# as_described CONDITION...: ends the script, with 1 where the condition does not hold.
as_described() {
  if "$@"; then echo "as described"; else
    echo "no longer as described" >&2
    exit 1
  fi
}
