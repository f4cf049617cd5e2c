#!/usr/bin/env python3
"""Cuts every shipped variant that can be opened again, and writes a table of what each demonstrated.

A variant that declares `power-loss` gets --cuts cuts of the power, one at each of the first --every-sync syncs among them; a
weaker one gets --weak-cuts, and should lose something: where it does not, its declaration is weaker than it. Each variant's
result is a file below --out; a variant whose file is there is not run again, so a series that was stopped goes on.

    ci/crash-series.py --uplift target/debug/uplift --out /tmp/series                 # all scenarios
    ci/crash-series.py --out /tmp/series docdb/crud dataflow/vote-zipf                # some
"""

import argparse
import json
import os
import subprocess
import sys
import time


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", help="names as `uplift list` has them [default: all]")
    parser.add_argument("--uplift", default="uplift", help="the program")
    parser.add_argument("--out", required=True, help="folder of the results, and of the table")
    parser.add_argument("--cuts", type=int, default=500, help="cuts of a variant that declares power-loss")
    parser.add_argument("--every-sync", type=int, default=200, help="the first syncs at each of which one of them comes")
    parser.add_argument("--weak-cuts", type=int, default=100, help="cuts of any other variant")
    parser.add_argument("--seed", default="24", help="of data, load and cuts")
    parser.add_argument("--until", help="HH:MM after which no variant is begun")
    parser.add_argument("--table", action="store_true", help="only write the table of what is there")
    return parser.parse_args()


def crash(how, scenario, variant, words):
    """The JSON of one run, or the reason why there is none."""
    runs = os.path.join(how.out, "runs")
    command = [how.uplift, "crash", scenario, "--variant", variant, "--seed", how.seed, "--out", runs,
               "--format", "json", "-q", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        return json.loads(done.stdout)[0], done.stderr
    except (ValueError, IndexError):
        return None, (done.stderr.strip().splitlines() or ["no answer"])[0]


def one(how, scenario, variant):
    """What one variant did: a probe tells what it declares, and the rest follows from that."""
    begun = time.monotonic()
    probe, why = crash(how, scenario, variant, ["--cuts", "1", "--mode", "kill"])
    if probe is None:
        return {"scenario": scenario, "variant": variant, "untried": why}
    durable = probe["declared"] == "power-loss"
    words = ["--cuts", str(how.cuts), "--every-sync", str(how.every_sync)] if durable else ["--cuts", str(how.weak_cuts)]
    found, why = crash(how, scenario, variant, ["--mode", "power", *words])
    if found is None:
        return {"scenario": scenario, "variant": variant, "untried": why}
    return {"scenario": scenario, "variant": variant, "found": found, "seconds": round(time.monotonic() - begun)}


def row(result):
    name = f"| `{result['scenario']}` | `{result['variant']}` |"
    if "untried" in result:
        return f"{name} – | – | – | – | – | – | not tried: {result['untried'].removeprefix('error: ')} |"
    found = result["found"]
    series = found["series"][0]
    window = series.get("oldest_lost_ns")
    window = f"{window / 1e6:.0f} ms" if window else "–"
    durable = found["declared"] == "power-loss"
    bad = series["bad_cuts"]
    if not series["cuts"]:
        said = "no cut could be carried out"
    elif not series["acknowledged"]:
        said = "not tried: nothing was acknowledged before any cut"
    elif durable:
        repaired = f", in {series['repaired']} after its documented repair" if series.get("repaired") else ""
        said = f"holds{repaired}" if not bad else f"**does not hold**: {series.get('detail') or found.get('reason')}"
    else:
        said = "loses, as declared" if bad else "**lost nothing: its declaration is weaker than it**"
    bits = [found["declared"], series["cuts"], series["acknowledged"], series["lost"], window,
            f"{series['wrong']} / {series['twice']} / {series['not_opened']}", said]
    return f"{name} " + " | ".join(f"{bit:,}" if isinstance(bit, int) else str(bit) for bit in bits) + " |"


def table(how):
    results = []
    for name in sorted(os.listdir(how.out)):
        if name.endswith(".json"):
            with open(os.path.join(how.out, name), encoding="utf-8") as file:
                results.append(json.load(file))
    lines = ["| scenario | variant | declared | cuts | acknowledged | lost | oldest lost | wrong / twice / not opened | |",
             "|---|---|---|--:|--:|--:|--:|--:|---|"]
    lines += [row(result) for result in results]
    with open(os.path.join(how.out, "table.md"), "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    return results


def main():
    how = arguments()
    os.makedirs(how.out, exist_ok=True)
    if not how.table:
        listed = subprocess.run([how.uplift, "list", *how.scenarios, "--format", "json"], capture_output=True, text=True)
        if listed.returncode != 0:
            sys.exit(listed.stderr)
        for scenario in json.loads(listed.stdout):
            for variant in scenario["variants"]:
                if how.until and time.strftime("%H:%M") >= how.until:
                    break
                path = os.path.join(how.out, f"{scenario['name']}-{variant}".replace("/", "-") + ".json")
                if os.path.exists(path):
                    continue
                result = one(how, scenario["name"], variant)
                with open(path + ".new", "w", encoding="utf-8") as file:
                    json.dump(result, file, indent=1)
                os.replace(path + ".new", path)
                print(row(result), flush=True)
                table(how)
    results = table(how)
    bad = [r for r in results if "found" in r and r["found"]["agreement"] == "contradicted"]
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
