#!/bin/sh
# The same from a shell: pipes, files, fields and exit codes.
# To ask a real provider: in place of --mock name one, -p openai -m gpt-5-mini, and set OPENAI_API_KEY.
set -eu
data="$(dirname "$0")/data"

echo 'Why is the sky blue?' | pollux-sync run --mock
grep Kind -A 1 "$data/letter.txt" | pollux-sync run --mock -s - 'Who signed this?'
pollux-sync run --mock --per-source -s "$data/letter.txt" -s "$data/inventory.json" 'What is it?' | cut -c 1-59
pollux-sync run --mock --schema 'name str, age int?, tags list[str]' 'Describe the keeper.'
pollux-sync run --mock --json 'Hello?' | grep '"status"'
pollux-sync run --mock --temperature hot 'Hello?' 2>/dev/null || echo "exit code $?: nothing was sent"

# prints:
# echo: Why is the sky blue?
# echo: Kind regards,
# Daniel Price, Oakfield Furniture
# --- 1/2: What is it? (examples/data/letter.txt) ---
# echo: Dear Mrs Okafor,
#
# thank you for your order of two garden chairs on 3 May. The
# --- 2/2: What is it? (examples/data/inventory.json) ---
# echo: {"shop": "Oakfield Furniture", "items": [{"name": "ga
# {"name": "text", "tags": []}
#   "status": "ok",
# exit code 2: nothing was sent
