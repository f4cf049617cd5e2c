"""A client of an HTTP server: a JSON line asks, a JSON line answers."""
import http.client
import json
import sys

connection = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]))
for line in sys.stdin:
    asked = json.loads(line)
    method, path = asked["send"].split(" ", 1)
    try:
        connection.request(method, path, body=asked.get("body"))
        answer = connection.getresponse()
        body = answer.read().decode()
        if answer.status == 404:
            said = {"empty": True}
        elif answer.status < 300:
            said = {"ok": True, "body": body}
        else:
            said = {"ok": False, "error": f"status {answer.status}"}
    except OSError as error:
        said = {"ok": False, "error": str(error)}
    print(json.dumps(said), flush=True)
