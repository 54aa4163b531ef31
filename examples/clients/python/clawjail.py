"""A client of `clawjail serve`: the standard library alone, one file to copy.

    with Client() as client, client.open(profile="offline", workspace="/srv/work") as jail:
        jail.write("hello.py", "print('hello')")
        result = jail.run(["python3", "hello.py"])
        print(result.stdout, result.verdict["denials"])

The protocol is docs/protocol.md. A client is one connection, for one thread.
"""

import base64
import collections
import json
import os
import socket

PLACES = ["/run/clawjail/socket", f"{os.environ.get('XDG_RUNTIME_DIR', f'/run/user/{os.getuid()}')}/clawjail/socket"]


class Error(Exception):
    """An answer that is no result. `code` is a word that stays, such as `refused.rate`."""

    def __init__(self, error):
        data = error["data"]
        super().__init__(error["message"])
        self.code, self.remedy, self.verdict = data["code"], data.get("remedy"), data.get("verdict")
        self.retry_after = data.get("retry_after_ms", 0) / 1000


class Invalid(Error):
    """The request made no sense to the service."""


class Refused(Error):
    """The service said no, and nothing was executed."""


class Denied(Error):
    """The jail said no."""


class Failed(Error):
    """The service could not do its part."""


KINDS = {"refused": Refused, "denied": Denied, "failed": Failed}


def to_wire(value):
    """Text, bytes or a path, as the wire has it."""
    data = os.fsencode(value)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def to_bytes(part):
    """What came as `data` or `base64`."""
    return part["data"].encode() if "data" in part else base64.b64decode(part["base64"])


class Client:
    """A connection to the service at `path`, or where a service usually is."""

    def __init__(self, path=None):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path or next(filter(os.path.exists, PLACES), PLACES[0]))
        self._lines = self._socket.makefile("rb")
        self._next, self._runs = 0, {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Hangs up, which ends this client's runs."""
        self._lines.close()
        self._socket.close()

    def call(self, method, **params):
        """Asks and waits for the result. Parameters that are None are left out."""
        self._next += 1
        params = {name: value for name, value in params.items() if value is not None}
        line = json.dumps({"jsonrpc": "2.0", "id": self._next, "method": method, "params": params})
        self._socket.sendall(line.encode() + b"\n")
        while True:
            message = self._receive()
            if message is None:
                continue
            if "error" in message:
                kind = message["error"]["data"]["code"].split(".")[0]
                raise KINDS.get(kind, Invalid)(message["error"])
            return message["result"]

    def _receive(self):
        """The next answer; notifications go to their run, and give None."""
        line = self._lines.readline()
        if not line:
            raise ConnectionError("the service has closed the connection")
        message = json.loads(line)
        if "method" not in message:
            return message
        run = self._runs.get(message["params"].get("run"))
        if run is not None:
            run._events.append(message)
        return None

    def open(self, workspace=None, profile=None, **more):
        """A jail that stays until it is closed. `more`: agent, session, idle_ms, age_ms, until_disconnect, tier."""
        workspace = workspace and to_wire(os.path.abspath(workspace))
        return Jail(self, self.call("jail.open", workspace=workspace, profile=profile, **more))

    def start(self, argv, workspace=None, env=None, cwd=None, timeout=None, **more):
        """Starts a command, in a jail of its own unless `more` names one. `more`: profile, jail, stdin, tty, detach, session ..."""
        answer = self.call(
            "run",
            argv=[to_wire(word) for word in argv],
            workspace=workspace and to_wire(os.path.abspath(workspace)),
            cwd=cwd and to_wire(os.path.abspath(cwd)),
            env={name: to_wire(value) for name, value in (env or {}).items()},
            timeout_ms=timeout and int(timeout * 1000),
            **more,
        )
        return self._watch(answer)

    def attach(self, run):
        """A run of before, by its id, with its output so far."""
        return self._watch(self.call("run.attach", run=run))

    def _watch(self, answer):
        # The answer comes before the first notification about it, and nothing was read since.
        run = self._runs[answer["run"]] = Run(self, answer)
        return run

    def run(self, argv, input=None, **more):
        """Runs a command to its end."""
        return self.start(argv, stdin="pipe" if input is not None else "none", **more).finish(input)


class Run:
    """A command under way. Iterate over it for its output: `(stream, bytes)`."""

    def __init__(self, client, answer):
        self.id, self.about, self.verdict = answer["run"], answer, None
        self._client, self._events = client, collections.deque()

    def __iter__(self):
        while self.verdict is None:
            while not self._events:
                self._client._receive()
            event = self._events.popleft()
            if event["method"] == "run.ended":
                self.verdict = event["params"]["verdict"]
                del self._client._runs[self.id]
            elif event["method"] == "run.output":
                yield event["params"]["stream"], to_bytes(event["params"])

    def finish(self, input=None):
        """Gives it `input`, waits for its end, and gathers its output."""
        if input is not None:
            try:
                self.write(input, close=True)
            except Refused:
                pass  # The command did not want all of it.
        gathered = collections.defaultdict(bytes)
        for stream, chunk in self:
            gathered[stream] += chunk
        return Result(self.verdict["exit_code"], gathered["stdout"] or gathered["terminal"], gathered["stderr"], self.verdict)

    def write(self, data, close=False):
        """Sends input, and waits until the command's pipe has taken it."""
        self._client.call("run.stdin", run=self.id, data=to_wire(data), close=close)

    def signal(self, signal="TERM"):
        """`KILL` ends it with everything it started."""
        self._client.call("run.signal", run=self.id, signal=signal)

    def resize(self, rows, columns):
        """Changes the size of its terminal."""
        self._client.call("run.resize", run=self.id, rows=rows, columns=columns)


Result = collections.namedtuple("Result", "exit_code stdout stderr verdict")


class Jail:
    """A jail that stays. Paths are as a command in it would write them."""

    def __init__(self, client, about):
        self.id, self.about, self._client = about["jail"], about, client

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends what runs in it, and takes it away."""
        self._client.call("jail.close", jail=self.id)

    def run(self, argv, input=None, **more):
        return self._client.run(argv, input, jail=self.id, **more)

    def start(self, argv, **more):
        return self._client.start(argv, jail=self.id, **more)

    def _files(self, method, path, **params):
        return self._client.call(f"fs.{method}", jail=self.id, path=to_wire(path), **params)

    def stat(self, path, follow=True):
        """What a file is; None where there is none."""
        try:
            return self._files("stat", path, follow=follow)
        except Denied as denied:
            if denied.code == "denied.enoent":
                return None
            raise

    def read(self, path):
        """All of a file, as bytes."""
        content, end = b"", False
        while not end:
            part = self._files("read", path, offset=len(content))
            content, end = content + to_bytes(part), part["end"]
        return content

    def write(self, path, content, mode=None):
        """All of a file anew, at once or not at all."""
        self._files("write", path, content=to_wire(content), mode=mode)

    def create(self, path, content="", mode=None):
        """A file that must not be there yet."""
        self._files("create", path, content=to_wire(content), mode=mode)

    def mkdir(self, path, parents=False):
        self._files("mkdir", path, parents=parents)

    def remove(self, path, recursive=False):
        self._files("remove", path, recursive=recursive)

    def rename(self, path, to, replace=True):
        self._client.call("fs.rename", jail=self.id, **{"from": to_wire(path)}, to=to_wire(to), replace=replace)

    def list(self, path="."):
        """All entries of a directory, sorted by name: `name`, `kind`, `size`."""
        entries, more = [], True
        while more:
            part = self._files("list", path, after=entries[-1]["name"] if entries else None)
            entries, more = entries + part["entries"], part["more"]
        return entries
