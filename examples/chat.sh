#!/bin/sh
# Asks a server about a picture: chat.sh PICTURE "QUESTION" (without quotation marks in it).
set -eu
picture=$(base64 <"$1" | tr -d '\n')
curl --silent --show-error --fail-with-body "${OPENAI_BASE_URL:-http://127.0.0.1:8000/v1}/chat/completions" \
  --header "authorization: Bearer ${OPENAI_API_KEY:-none}" --header 'content-type: application/json' --data @- <<BODY
{"messages": [{"role": "user", "content": [
  {"type": "image_url", "image_url": {"url": "data:image/png;base64,$picture"}},
  {"type": "text", "text": "$2"}]}], "temperature": 0, "max_tokens": 256}
BODY
