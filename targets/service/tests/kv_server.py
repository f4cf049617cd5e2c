"""A key-value server over HTTP, for tests: records behind /usertable/<key>, and what a service tells of itself."""
import argparse
import json
import os
import signal
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

arguments = argparse.ArgumentParser()
arguments.add_argument("port", type=int)
arguments.add_argument("--greeting", default="")
arguments.add_argument("--socket", default="")
arguments.add_argument("--certificate", default="")
arguments.add_argument("--deaf", action="store_true")
arguments = arguments.parse_args()
records = {}
requests = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle_any(self):
        global requests
        requests += 1
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.split("?")[0]
        if path == "/health":
            return self.answer(200, b"ok")
        if path == "/config":
            return self.answer(200, json.dumps({"greeting": arguments.greeting}).encode())
        if path == "/metrics":
            return self.answer(200, b"# TYPE requests_total counter\nrequests_total %d\n" % requests)
        if path == "/die":
            print("told to die", file=sys.stderr, flush=True)
            os._exit(9)
        if path == "/usertable":
            return self.answer(200, b"".join(list(records.values())[:10]))
        if self.command in ("PUT", "POST"):
            records[path] = body
            return self.answer(204)
        if path in records:
            return self.answer(200, records[path])
        return self.answer(404)

    do_GET = do_PUT = do_POST = handle_any

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", arguments.port), Handler)
server.daemon_threads = True
if arguments.certificate:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(arguments.certificate, arguments.certificate.replace("certificate", "key"))
    server.socket = context.wrap_socket(server.socket, server_side=True)
if arguments.deaf:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("serving", flush=True)
try:
    server.serve_forever()
except KeyboardInterrupt:
    pass
