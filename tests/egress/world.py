"""The internet of the egress tests: a name server, and servers under every public-looking address of this namespace.

Says `ready` when all of it listens. Whatever is asked of the name server, and whatever reaches a server, is a line of the
log: what is not there was never sent.
"""

import base64
import hashlib
import http.server
import json
import os
import re
import socket
import socketserver
import ssl
import struct
import sys
import threading

TABLE = json.load(open(sys.argv[1]))
LOG = open(sys.argv[2], "a", buffering=1)
CERTIFICATE, KEY = sys.argv[3], sys.argv[4]
# Files of other servers, by their names; tests put them there.
SHELF = os.path.join(os.path.dirname(sys.argv[1]), "www")
turns = {}
# What stands for a secret in some jail.
PLACEHOLDER = re.compile(rb"clawjail[0-9a-f]{32}")


def log(*words):
    LOG.write(" ".join(str(word) for word in words) + "\n")


def on_the_shelf(host, path):
    """The file that a server of this name has there."""
    file = os.path.join(SHELF, (host or "").split(":")[0], path.split("?")[0].lstrip("/"))
    file = os.path.join(file, "index.html") if os.path.isdir(file) else file
    return open(file, "rb").read() if host and os.path.isfile(file) else None


def choose(connection, name, _):
    """Their certificate, where one of them is asked for."""
    if name and os.path.isdir(os.path.join(SHELF, name)):
        other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        other.load_cert_chain(os.path.join(SHELF, "cert.pem"), os.path.join(SHELF, "key.pem"))
        connection.context = other


def labels(name):
    parts = [bytes([len(part)]) + part.encode() for part in name.rstrip(".").split(".")]
    return b"".join(parts) + b"\0"


def read_name(message, at):
    parts = []
    while message[at]:
        length = message[at]
        parts.append(message[at + 1 : at + 1 + length].decode("latin-1"))
        at += 1 + length
    return ".".join(parts).lower(), at + 1


def answer(message):
    """An address turns with each question where the table has lists of lists: what rebinding does."""
    name, at = read_name(message, 12)
    kind = struct.unpack(">H", message[at : at + 2])[0]
    log("dns", name, kind)
    entry = TABLE.get(name)
    question = message[12 : at + 4]
    flags = 0x8180 if entry is not None else 0x8183
    records = []
    if entry and isinstance(entry[0], list):
        turns[name] = turns.get(name, -1) + (1 if kind == 1 else 0)
        entry = entry[max(turns[name], 0) % len(entry)]
    for value in entry or []:
        if value.startswith("cname "):
            target = value.split()[1]
            records.append(labels(name) + struct.pack(">HHIH", 5, 1, 0, len(labels(target))) + labels(target))
            for address in TABLE.get(target, []):
                if kind == 1 and "." in address:
                    data = socket.inet_aton(address)
                    records.append(labels(target) + struct.pack(">HHIH", 1, 1, 0, 4) + data)
        elif kind == 1 and ":" not in value:
            records.append(labels(name) + struct.pack(">HHIH", 1, 1, 0, 4) + socket.inet_aton(value))
        elif kind == 28 and ":" in value:
            data = socket.inet_pton(socket.AF_INET6, value)
            records.append(labels(name) + struct.pack(">HHIH", 28, 1, 0, 16) + data)
    head = message[:2] + struct.pack(">HHHHH", flags, 1, len(records), 0, 0)
    return head + question + b"".join(records)


class Names(socketserver.BaseRequestHandler):
    def handle(self):
        message, sock = self.request
        if sock.getsockname()[1] == 5353:
            log("other dns", read_name(message, 12)[0])
        sock.sendto(answer(message), self.client_address)


class StreamNames(socketserver.StreamRequestHandler):
    """Names over TLS, each message with its length in front."""

    def handle(self):
        head = self.rfile.read(2)
        if len(head) < 2:
            return
        message = self.rfile.read(struct.unpack(">H", head)[0])
        log("tls dns", read_name(message, 12)[0])
        said = answer(message)
        self.wfile.write(struct.pack(">H", len(said)) + said)


class Web(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def serve(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if self.headers.get("Transfer-Encoding") == "chunked":
            while True:
                size = int(self.rfile.readline(), 16)
                body += self.rfile.read(size)
                self.rfile.readline()
                if not size:
                    break
        address = self.connection.getsockname()
        if self.headers.get("Authorization"):
            log("authorization", self.headers.get("Host"), self.headers.get("Authorization"), self.path)
        if PLACEHOLDER.search(body + self.path.encode() + str(self.headers).encode()):
            log("placeholder", self.headers.get("Host"), self.path)
        if self.headers.get("Upgrade"):
            log("asks to upgrade", self.headers.get("Upgrade"))
            if self.headers.get("Upgrade").lower() == "websocket":
                return self.frames()
        log(self.kind, address[0], address[1], self.headers.get("Host"), self.command, self.path, len(body))
        if self.path == "/dns-query" and self.command == "POST":
            log("https dns", read_name(body, 12)[0])
            said = answer(body)
            self.send_response(200)
            self.send_header("Content-Type", "application/dns-message")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            return self.wfile.write(said)
        shelved = on_the_shelf(self.headers.get("Host"), self.path)
        if shelved is None and os.path.isdir(os.path.join(SHELF, (self.headers.get("Host") or "-").split(":")[0])):
            return self.send_error(404)
        if shelved is not None:
            said = shelved
        elif self.path == "/headers":
            said = str(self.headers).encode()
        elif self.path.startswith("/big/"):
            said = b"x" * int(self.path[5:])
        else:
            said = f"{self.kind} {self.headers.get('Host')} {self.command} {self.path} {len(body)}\n".encode()
        self.send_response(200)
        if shelved is not None and b"<a " in said[:9]:
            self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said)

    def frames(self):
        """Says each text frame back until the other side ends. RFC 6455."""
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.wfile.write(
            f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n".encode()
        )
        self.close_connection = True
        while True:
            head = self.rfile.read(2)
            if len(head) < 2:
                return
            mask = self.rfile.read(4)
            text = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.rfile.read(head[1] & 0x7F)))
            log("frame", text.decode("latin-1"))
            self.wfile.write(bytes([0x81, len(text)]) + text)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = serve
    kind = "http"

    def log_message(self, *_):
        pass


class SecureWeb(Web):
    kind = "https"


class Echo(socketserver.BaseRequestHandler):
    """Speaks first, then says everything back."""

    def handle(self):
        log("echo", *self.request.getsockname()[:2])
        self.request.sendall(b"hello, I speak first\n")
        while True:
            data = self.request.recv(65536)
            if not data:
                return
            log("echoed", len(data))
            self.request.sendall(data)


class Quiet(socketserver.BaseRequestHandler):
    """Hears, and says nothing but how much it heard."""

    def handle(self):
        log("quiet", *self.request.getsockname()[:2])
        count = 0
        while True:
            data = self.request.recv(65536)
            if not data:
                break
            count += len(data)
            log("heard", repr(data[:60]))
        self.request.sendall(f"heard {count}\n".encode())


class Six(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    daemon_threads = True
    request_queue_size = 1024
    allow_reuse_address = True


class Datagrams(socketserver.BaseRequestHandler):
    def handle(self):
        log("udp", self.request[1].getsockname()[1], len(self.request[0]))


class Talk(socketserver.BaseRequestHandler):
    """Says what it heard, and how much."""

    def handle(self):
        said, own = self.request
        log("talk", own.getsockname()[1], len(said))
        own.sendto(b"heard %d" % len(said), self.client_address)


class Proxy(http.server.BaseHTTPRequestHandler):
    """A proxy of the host's network, which wants `user:word`, and knows names that no name server does."""

    protocol_version = "HTTP/1.1"
    known = {"behind.example": "93.184.216.35"}

    def do_CONNECT(self):
        wanted = self.headers.get("Proxy-Authorization")
        log("proxy", self.path, "as" if wanted else "without", "word")
        if wanted not in (None, "Basic dXNlcjp3b3Jk") or (wanted is None and self.server.server_address[1] == 3129):
            self.send_response(407)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        host, port = self.path.rsplit(":", 1)
        try:
            there = socket.create_connection((self.known.get(host) or (TABLE.get(host) or [host.strip("[]")])[0], int(port)), 5)
        except OSError:
            self.send_error(502)
            return
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\nX-Long: " + b"x" * 3000 + b"\r\n\r\n")
        self.wfile.flush()
        back = threading.Thread(target=self.copy, args=(there, self.connection), daemon=True)
        back.start()
        self.copy(self.connection, there)
        back.join()
        self.close_connection = True

    @staticmethod
    def copy(source, sink):
        try:
            while piece := source.recv(65536):
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def log_message(self, *_):
        pass


def run(server):
    threading.Thread(target=server.serve_forever, daemon=True).start()


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERTIFICATE, KEY)
context.set_alpn_protocols(["http/1.1"])
context.sni_callback = choose
secure = Six(("::", 443), SecureWeb)
secure.socket = context.wrap_socket(secure.socket, server_side=True, do_handshake_on_connect=False)
run(secure)
run(Six(("::", 80), Web))
run(Six(("::", 22), Echo))
run(Six(("::", 7000), Echo))
run(Six(("::", 9000), Quiet))


class UdpSix(socketserver.ThreadingUDPServer):
    address_family = socket.AF_INET6


run(UdpSix(("::", 53), Names))
run(UdpSix(("::", 5353), Names))
names = Six(("::", 853), StreamNames)
names.socket = context.wrap_socket(names.socket, server_side=True, do_handshake_on_connect=False)
run(names)
# From each address that it is asked at: one socket for all of them would answer from the first.
for family, address in ((socket.AF_INET, "93.184.216.34"), (socket.AF_INET, "45.90.0.2"), (socket.AF_INET, "10.1.2.3"), (socket.AF_INET6, "2a0c:2::34")):
    Talkative = type("Talkative", (socketserver.ThreadingUDPServer,), {"address_family": family})
    run(Talkative((address, 7001), Talk))
run(Six(("::", 3128), Proxy))
run(Six(("::", 3129), Proxy))
for port in (123, 443, 9000):
    run(UdpSix(("::", port), Datagrams))
print("ready", flush=True)
threading.Event().wait()
