"""Turns the JSON lines of a comparison into Markdown tables: `table.py LINES`."""

import json
import platform
import sys
from collections import OrderedDict

INGEST = [
    "seconds", "values_per_second", "batch_ms_p50", "batch_ms_p99", "cpu_s_per_million_values",
    "cpu_s_per_million_values_settled", "rss_peak_mib", "disk_bytes_per_value", "points_counted", "errors",
]


def main():
    ingest, queries = [], OrderedDict()
    servers = []
    for line in open(sys.argv[1], encoding="utf-8"):
        data = json.loads(line)
        if isinstance(data, dict):
            ingest.append(data)
            continue
        for row in data:
            queries.setdefault(row["query"], []).append(row)
            if row["server"] not in servers:
                servers.append(row["server"])
    print(f"# Side by side on one machine\n\n{platform.machine()}, Linux {platform.release()}, one run.\n")
    if ingest:
        print("| load | server | " + " | ".join(name.replace("_", " ") for name in INGEST) + " |")
        print("|---" * (len(INGEST) + 2) + "|")
        for row in ingest:
            print(f"| {row['load']} | {row['server']} | " + " | ".join(str(row.get(name, "")) for name in INGEST) + " |")
    if queries:
        print("\nQueries: p50 / p99 ms (server CPU ms)\n")
        print("| query | " + " | ".join(servers) + " |")
        print("|---" * (len(servers) + 1) + "|")
        for query, rows in queries.items():
            cells = []
            for server in servers:
                found = [row for row in rows if row["server"] == server]
                cells.append("; ".join(f"{r['p50_ms']} / {r['p99_ms']} ({r['server_cpu_ms']})" for r in found) or "–")
            print(f"| {query} | " + " | ".join(cells) + " |")


main()
