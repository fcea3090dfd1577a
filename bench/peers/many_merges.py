"""mergekit in one process for many small merges: `many_merges.py` reads a JSON list of [merge's file, folder to make]."""

import json
import sys

import yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions

for file, out in json.load(sys.stdin):
    with open(file) as text:
        source = text.read()
    config = MergeConfiguration.model_validate(yaml.safe_load(source))
    run_merge(config, out, MergeOptions(copy_tokenizer=False, quiet=True, random_seed=1), config_source=source)
