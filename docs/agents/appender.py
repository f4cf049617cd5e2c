#!/usr/bin/env python3
"""A whole agent of uplift in Python: appends 100 bytes to a file, with or without a sync. `uplift agent-check` passes it."""
import collections, json, os, resource, sys, threading, time

PROTOCOL = 1
NAME, KNOWN = "py-appender", {"workload": {}, "settings": {"sync": bool}}
now, cpu_now = time.monotonic_ns, time.process_time_ns


class Refused(Exception):
    """A kind, a phase and a sentence."""


def describe():
    return {"name": NAME, "about": "appends 100 bytes to a file, from Python", "description": {
        "unit_of_work": "append", "operations": ["append"], "write_kinds": ["append"], "no_op_reasons": [],
        "failure_categories": ["io"], "metrics": [], "workload_schema": {"type": "object", "properties": {}},
        "settings_schema": {"type": "object", "properties": {
            "sync": {"type": "boolean", "default": True, "description": "whether every append is synced"}}}}}


def problem(workload, settings):
    """The first key that is wrong, or None."""
    for table, values in (("workload", workload), ("settings", settings)):
        for key, value in values.items():
            if key not in KNOWN[table]:
                return {"table": table, "keys": [key], "message": f"unknown field `{key}`, known: {[*KNOWN[table]]}"}
            if not isinstance(value, KNOWN[table][key]):
                return {"table": table, "keys": [key], "message": f"must be true or false, not {value!r}"}


class Trial:
    def __init__(self, prepare):
        load, begun = prepare["load"], now()
        if prepare["target"] != NAME:
            raise Refused("settings", "set-up", f"there is no target `{prepare['target']}`; there is {NAME}")
        if wrong := problem(prepare["workload"], prepare["settings"]):
            raise Refused("settings", "set-up", f"{'.'.join(wrong['keys'])}: {wrong['message']}")
        if load["mode"] != "closed" or load.get("think") or load["batch"] != 1 or prepare.get("disk"):
            raise Refused("settings", "set-up", "this agent knows closed loops of single calls, and models no disk")
        self.sync, self.clients = prepare["settings"].get("sync", True), load["clients"]
        self.path = os.path.join(prepare["data_dir"], "log")
        self.log = os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        self.lock, self.acknowledged, self.sync_calls = threading.Lock(), 0, 0
        self.kept, self.idle, self.quiet_since = [], [0, 0], None
        self.origin = now()
        self.ready = {"effective": {"sync": str(self.sync).lower()}, "setup_ns": self.origin - begun,
                      "durability": "power-loss" if self.sync else "process-crash"}

    def client(self, deadline, calls, times, failed, done):
        """One thread of load: the next operation when the last one is acknowledged."""
        while True:
            with self.lock:
                if calls[0] <= 0 or now() >= deadline:
                    return
                calls[0] -= 1
            sent, ok = now(), True
            try:
                os.write(self.log, b"a" * 100)
                self.sync and os.fdatasync(self.log)
            except OSError:
                ok = False
            with self.lock:
                done.append(now())
                self.acknowledged += ok
                self.sync_calls += self.sync
                (times if ok else failed)[done[-1] - sent] += 1

    def turn(self, request):
        if request["measured"] and self.quiet_since:
            self.idle = [idle + at() - since for idle, at, since in zip(self.idle, (now, cpu_now), self.quiet_since)]
        before, syncs, cpu = usage(), self.sync_calls, cpu_now()
        length, times, failures, done, start = request["length"], collections.Counter(), collections.Counter(), [], now()
        work = (start + length.get("nanoseconds", float("inf")), [length.get("operations", float("inf"))], times, failures, done)
        threads = [threading.Thread(target=self.client, args=work) for _ in range(self.clients)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        spread, failed = sorted(times.elements()), failures.total()
        record = {"index": request["index"], "start_ns": start - self.origin, "wall_ns": max(done, default=start) - start,
                  "attempts": len(spread) + failed, "ok": len(spread), "nothing": 0, "failed": failed, "unsent": 0,
                  "cpu_ns": cpu_now() - cpu, "sync_calls": self.sync_calls - syncs, "quiesce_ns": 0}
        record |= {"response_p50_ns": spread[len(spread) // 2], "response_max_ns": spread[-1]} if spread else {}
        if request["measured"]:
            self.kept.append((record, times, before, usage()))
        self.quiet_since = (now(), cpu_now())
        return record

    def finish(self, drop):
        kept = self.kept[drop:]
        total = {name: sum(after[name] - before[name] for *_, before, after in kept) for name in usage()}
        total |= {"cores": len(os.sched_getaffinity(0)), "wall_ns": sum(turn["wall_ns"] for turn, *_ in kept),
                  "rss_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
        failed = sum(turn["failed"] for turn, *_ in kept)
        operation = {"kind": "append", "ok": sum(turn["ok"] for turn, *_ in kept), "failed": {"io": failed} if failed else {},
                     "response": [[value, count] for _, times, *_ in kept for value, count in times.items()]}
        calls = sum(turn["sync_calls"] for turn, *_ in kept)
        kinds = {"fdatasync": {"calls": calls, "errors": 0, "latency": []}} if calls else {}
        found, wanted = os.path.getsize(self.path), self.acknowledged * 100
        return self.ready | {
            "turns": [turn for turn, *_ in self.kept], "dropped_turns": drop, "operations": [operation], "resources": total,
            "syncs": {"collector": "counted by the agent", "blind_spots": ["calls of other libraries"], "kinds": kinds},
            "counters": {}, "gauges": {}, "idle": {"wall_ns": self.idle[0], "cpu_ns": self.idle[1], "sync_calls": 0},
            "drain": {"duration_ns": 0, "owed": 0}, "check": {
                "passed": found == wanted, "checked": 1, "detail": f"{found} bytes are in the log, {wanted} acknowledged"}}


def usage():
    own, io = resource.getrusage(resource.RUSAGE_SELF), dict(line.split(": ") for line in open("/proc/self/io"))
    return {"cpu_user_ns": int(own.ru_utime * 1e9), "cpu_system_ns": int(own.ru_stime * 1e9),
            "voluntary_switches": own.ru_nvcsw, "involuntary_switches": own.ru_nivcsw, "major_faults": own.ru_majflt,
            "storage_written_bytes": int(io["write_bytes"]), "storage_read_bytes": int(io["read_bytes"]),
            "written_bytes": int(io["wchar"]), "write_calls": int(io["syscw"])}


def answers(requests):
    trial = None
    for request in map(json.loads, requests):
        match request["request"]:
            case "hello":
                yield {"reply": "hello", "protocol": PROTOCOL, "version": sys.version.split()[0], "targets": [NAME],
                       "debug_assertions": False, "sync_probe_live": True}
                if request["protocol"] != PROTOCOL:
                    raise Refused("protocol", "hello", f"the harness speaks {request['protocol']}, this agent {PROTOCOL}")
            case "describe":
                yield {"reply": "described", "targets": [describe()]}
            case "validate":
                yield {"reply": "validated", "problem": problem(request["workload"], request["settings"])}
            case "prepare":
                trial = Trial(request)
                yield {"reply": "ready"} | trial.ready
            case "turn" if trial:
                yield {"reply": "turn"} | trial.turn(request)
            case "finish" if trial:
                yield {"reply": "finished"} | trial.finish(request["drop_turns"])
                return
            case other:
                raise Refused("protocol", "trial", f"`{other}` is not known, or not at this point")


if __name__ == "__main__":
    replies = os.fdopen(os.dup(1), "w")  # what a library prints must not break into the conversation
    os.dup2(2, 1)
    try:
        for reply in answers(sys.stdin):
            print(json.dumps(reply), file=replies, flush=True)
    except (Refused, OSError) as refusal:
        why = refusal.args if isinstance(refusal, Refused) else ("target", "trial", str(refusal))
        print(json.dumps({"reply": "failed"} | dict(zip(("kind", "phase", "message"), why))), file=replies, flush=True)
        sys.exit(1)
