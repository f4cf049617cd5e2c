"""Reads the files in `exports/` with libraries that were not written for uplift and records what they say.

    python3 -m venv v && v/bin/pip install hdrhistogram==0.10.8 prometheus_client==0.26.0 junitparser==5.0.3
    python3 -m venv w && w/bin/pip install hdr-plot==0.6.2 "setuptools<81"
    npm install --prefix n hdr-histogram-js@3.0.1
    apt-get download prometheus && dpkg -x prometheus_*.deb p
    v/bin/python read.py n/node_modules w/bin/python p/usr/bin/promtool      # records the answers
    v/bin/python read.py --check     # reads again and fails where an answer differs; leaves out what v does not have

`harness/report/tests/exports.rs` holds the answers against the records.
"""

import csv
import importlib.metadata
import json
import pathlib
import statistics
import subprocess
import sys

from hdrh.log import HistogramLogReader
from hdrh.histogram import HdrHistogram
from junitparser import JUnitXml
from prometheus_client.openmetrics.parser import text_string_to_metric_families

HERE = pathlib.Path(__file__).parent
EXPORTS = HERE / "exports"
HIGHEST_NS = 3_600_000_000_000
# Libraries round the rank of a percentile differently, so whole ranks are asked for.
RANKS = {"middle": lambda n: (n + 1) // 2, "tail": lambda n: n - n // 100, "last": lambda n: n}


def digest(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) % 2**64
    return f"{value:016x}"


def hlog_python():
    reader = HistogramLogReader(str(EXPORTS / "hlog.hlog"), HdrHistogram(1, HIGHEST_NS, 3))
    answers = []
    while True:
        histogram = reader.get_next_interval_histogram()
        if histogram is None:
            return answers
        n = histogram.get_total_count()
        answers.append(
            {
                "tag": histogram.get_tag(),
                "count": histogram.get_total_count(),
                **{name: histogram.get_value_at_percentile(100 * rank(n) / n) for name, rank in RANKS.items()},
            }
        )


def hlog_javascript(modules):
    script = """
      const hdr = require(process.argv[1] + '/hdr-histogram-js');
      const text = require('fs').readFileSync(process.argv[2], 'utf8');
      const lines = text.split('\\n').filter((line) => line.startsWith('Tag='));
      const answers = lines.map((line) => {
        const histogram = hdr.decodeFromCompressedBase64(line.split(',')[4]);
        const n = histogram.totalCount;
        const at = (rank) => histogram.getValueAtPercentile(100 * rank / n);
        return { count: n, middle: at(Math.floor((n + 1) / 2)), tail: at(n - Math.floor(n / 100)), last: at(n) };
      });
      console.log(JSON.stringify(answers));
    """
    command = ["node", "-e", script, str(pathlib.Path(modules).resolve()), str(EXPORTS / "hlog.hlog")]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def hgrm(python):
    script = """
import json, pathlib, sys
from hdr_plot import hdr_plot
answers = {}
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.hgrm")):
    table, about = hdr_plot.parse_percentiles(path), hdr_plot.parse_metadata(path)
    at = lambda q: float(table.loc[table["Percentile"] >= q]["Latency"].iloc[0])
    answers[path.stem] = {
        "count": int(about["Total count"]), "mean_us": float(about["Mean"]), "max_us": float(about["Max"]),
        "p50_us": at(0.5), "p99_us": at(0.99), "lines": len(table),
    }
print(json.dumps(answers))
    """
    command = [python, "-W", "ignore", "-c", script, str(EXPORTS)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def promtool(program):
    with open(EXPORTS / "openmetrics.prom") as file:
        checked = subprocess.run([program, "check", "metrics"], stdin=file, capture_output=True, text=True)
    version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout.split()[2]
    return {"version": version, "exit": checked.returncode, "complaints": checked.stdout + checked.stderr}


def openmetrics():
    families = {}
    for family in text_string_to_metric_families((EXPORTS / "openmetrics.prom").read_text()):
        assert family.type == "gauge", family
        for sample in family.samples:
            if sample.labels["statistic"] == "median":
                families.setdefault(family.name, {})[sample.labels["variant"]] = sample.value
    return families


def junit():
    document = JUnitXml.fromfile(str(EXPORTS / "junit.xml"))
    declared = {"tests": document.tests, "failures": document.failures, "skipped": document.skipped}
    document.update_statistics()
    counted = {"tests": document.tests, "failures": document.failures, "skipped": document.skipped}
    assert declared == counted, (declared, counted)
    return counted


def medians_of_csv():
    values = {}
    with open(EXPORTS / "csv.csv", newline="") as file:
        for row in csv.DictReader(file, strict=True):
            if row["value"]:
                values.setdefault(f'{row["variant"]} {row["metric"]}', []).append(float(row["value"]))
    return {name: statistics.median(members) for name, members in values.items()}


def bmf():
    benchmarks = json.loads((EXPORTS / "bmf.json").read_text())
    return {name: {m: v["value"] for m, v in measures.items()} for name, measures in benchmarks.items()}


CHECK = sys.argv[1] == "--check"

answers = {
    "readers": {
        name: importlib.metadata.version(name) for name in ("hdrhistogram", "prometheus_client", "junitparser")
    },
    "digests": {path.name: digest(path.read_bytes()) for path in sorted(EXPORTS.iterdir())},
    "hlog": {"hdrh (Python)": hlog_python(), **({} if CHECK else {"hdr-histogram-js": hlog_javascript(sys.argv[1])})},
    "openmetrics": openmetrics(),
    **({} if CHECK else {"hgrm": hgrm(sys.argv[2]), "promtool": promtool(sys.argv[3])}),
    "junit": junit(),
    "csv": medians_of_csv(),
    "bmf": bmf(),
}
if not CHECK:
    (HERE / "answers.json").write_text(json.dumps(answers, indent=1) + "\n")
else:
    recorded = json.loads((HERE / "answers.json").read_text())
    recorded["hlog"].pop("hdr-histogram-js")
    # Through JSON and back: what was recorded has no tuples and no integers as keys.
    different = [name for name, answer in json.loads(json.dumps(answers)).items() if recorded[name] != answer]
    if different:
        sys.exit(f"answers that differ from answers.json: {', '.join(different)}")
    print("every reader says what it said when its answers were recorded")
