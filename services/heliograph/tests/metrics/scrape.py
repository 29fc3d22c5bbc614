"""Reads an exposition with Prometheus' own Python client, which refuses what breaks the format.

usage: scrape.py URL plain|openmetrics
prints a JSON list of [family, kind, help, [[sample, {label: value}, value], ...]]
"""

import json
import sys
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

ACCEPT = {"plain": "text/plain;version=0.0.4", "openmetrics": "application/openmetrics-text"}
PARSER = {"plain": plain, "openmetrics": openmetrics}

url, format = sys.argv[1:]
request = urllib.request.Request(url, headers={"Accept": ACCEPT[format]})
with urllib.request.urlopen(request, timeout=30) as answer:
    content_type = answer.headers["Content-Type"]
    text = answer.read().decode()
if not content_type.startswith(ACCEPT[format].split(";")[0]):
    sys.exit(f"content-type: got {content_type}, want {ACCEPT[format]}")
families = [
    [f.name, f.type, f.documentation, [[s.name, s.labels, s.value] for s in f.samples]]
    for f in PARSER[format](text)
]
json.dump(families, sys.stdout)
