"""Embeds a data set on many machines: Apache Spark pipes it through the very command that one machine runs.

python spark.py IN OUT COMMAND [argument …]

IN is a text or JSONL file (any path Spark reads), OUT a folder of part files in the order of the input, COMMAND what embeds
JSONL from stdin to stdout, for example: node batch-embed.cjs --backend wasm. Spark runs a failed worker's partition again.
Needs pyspark and Java 11 or newer; the master comes from spark-submit, or is local.
"""

import json
import os
import shlex
import sys

from pyspark.sql import SparkSession

# Partitions consist of whole windows of the command (its --window), as a window's lines are embedded together.
WINDOW = int(os.environ.get("BATCH_EMBED_WINDOW", "512"))
WINDOWS_PER_PARTITION = int(os.environ.get("BATCH_EMBED_WINDOWS_PER_PARTITION", "64"))


def numbered(indexed):
    """(line, index) with the line's number in it, unless it has an id or is broken: that is for the command to say."""
    line, index = indexed
    try:
        record = json.loads(line)
    except ValueError:
        record = None if line.lstrip().startswith("{") else {"text": line}
    if isinstance(record, dict) and "id" not in record:
        line = json.dumps({**record, "line": index + 1})
    return index, line


def main():
    if len(sys.argv) < 4:
        print(__doc__, file=sys.stderr)
        return 2
    source, target, command = sys.argv[1], sys.argv[2], sys.argv[3:]
    session = SparkSession.builder.appName("batch-embed").getOrCreate()
    lines = session.sparkContext.textFile(source).zipWithIndex().map(numbered)
    per_partition = WINDOW * WINDOWS_PER_PARTITION
    partitions = max(1, -(-lines.count() // per_partition))
    placed = lines.repartitionAndSortWithinPartitions(partitions, lambda index: index // per_partition)
    piped = placed.values().pipe(
        shlex.join(command + ["--format", "jsonl", "--window", str(WINDOW)]), env=dict(os.environ), checkCode=True
    )
    piped.saveAsTextFile(target)
    session.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
