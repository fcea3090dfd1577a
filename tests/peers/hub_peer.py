"""Python's huggingface_hub: `python hub_peer.py REQUEST.json`, {fetch, find}. Fetches one model from the hub that
HF_ENDPOINT names, finds another one in the cache alone, and says whose token it would show."""
import json
import sys

from huggingface_hub import get_token, snapshot_download

request = json.load(open(sys.argv[1]))
json.dump({
    "fetched": snapshot_download(request["fetch"]),
    "found": snapshot_download(request["find"], local_files_only=True),
    "token": get_token(),
}, sys.stdout)
