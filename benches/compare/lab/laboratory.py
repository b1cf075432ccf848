"""The running processes: contenders, backend and generator, each on its processors, and one run of a workload."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from . import machine
from .contenders import Contender, load
from .places import COMPARE, SPLICEWAY, TOOLS, WSLOAD
from .workloads import Workload

ADDRESS = "127.0.0.1"
# A contender that logs each request must not fill the disk: a log longer than this is emptied between two runs.
LONGEST_LOG = 64 << 20


class Laboratory:
    """A scratch folder, a certificate, a backend; contenders are started into it. Used as `with Laboratory() as lab`."""

    def __init__(self, layout="split", base_port=17000, seconds=2.0):
        if not WSLOAD.exists():
            raise SystemExit(f"{WSLOAD} is not there: run benches/compare/install")
        self.seconds = seconds
        self.proxy_processors, self.generator_processors = machine.halves(layout)
        self.base_port = self.next_port = base_port
        self.started: list[Contender] = []

    def __enter__(self):
        # So that SIGTERM stops the contenders too.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
        self.scratch = tempfile.TemporaryDirectory(prefix="compare-")
        self.folder = Path(self.scratch.name)
        os.chmod(self.folder, 0o755)  # some peers drop their privileges
        self._make_certificate()
        self.backend_port = self._port()
        _refuse_taken_port(self.backend_port)
        log = self.folder / "backend.log"
        command = [str(WSLOAD), "echo-server", "--listen", f"{ADDRESS}:{self.backend_port}"]
        self.backend = spawn(command, self.generator_processors, log=log)
        _wait_for_port(self.backend_port, self.backend, log)
        return self

    def __exit__(self, *_):
        self.stop_all()
        stop_process(self.backend)
        self.scratch.cleanup()

    def _port(self) -> int:
        """A port and the one above it."""
        self.next_port += 2
        return self.next_port

    def _make_certificate(self):
        """A P-256 key, the cheapest kind for every contender."""
        self.cert, self.key = self.folder / "cert.pem", self.folder / "key.pem"
        command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost -addext"
        names = f"subjectAltName=DNS:localhost,IP:{ADDRESS}"
        subprocess.run([*command.split(), names, "-keyout", self.key, "-out", self.cert], check=True, capture_output=True)
        self.cert_and_key = self.folder / "cert-and-key.pem"
        self.cert_and_key.write_text(self.cert.read_text() + self.key.read_text())

    def words(self, contender: Contender, run: Path) -> dict[str, str]:
        """What a command and a template may name between @ signs."""
        return contender.settings | {
            "ADDRESS": ADDRESS,
            "PORT": str(contender.port),
            "TLS_PORT": str(contender.port + 1),
            "BACKEND": f"{ADDRESS}:{self.backend_port}",
            "WORKERS": str(len(self.proxy_processors)),
            "CONNECTIONS": str(machine.MOST_WEBSOCKETS),
            "CERT": str(self.cert),
            "KEY": str(self.key),
            "CERT_AND_KEY": str(self.cert_and_key),
            "RUN": str(run),  # the contender's scratch folder
            "TOOLS": str(TOOLS),
            "COMPARE": str(COMPARE),
            "SPLICEWAY": str(SPLICEWAY),
        }

    def start(self, contender: Contender):
        """Starts it and waits until it listens. An error says why it does not."""
        if not contender.command:
            contender.port = self.backend_port
            return
        contender.port = contender.port or self._port()
        _refuse_taken_port(contender.port + (not contender.plain))
        run = self.folder / contender.name
        run.mkdir(exist_ok=True)
        words = self.words(contender, run)

        def render(text: str) -> str:
            for name, value in words.items():
                text = text.replace(f"@{name}@", value)
            return text

        for template in contender.templates:
            (run / template.name).write_text(render(template.read_text()))
        command = [render(word) for word in contender.command]
        environment = {name: render(value) for name, value in contender.environment.items()}
        log = run / "output.log"
        contender.process = spawn(command, self.proxy_processors, environment, log)
        self.started.append(contender)
        _wait_for_port(contender.port + (not contender.plain), contender.process, log)

    def start_all(self, names: list[str]) -> list[Contender]:
        """Those that can be started; of the others it says why not."""
        running = []
        for name in names:
            contender = load(name)
            try:
                self.start(contender)
                running.append(contender)
            except (OSError, RuntimeError) as error:
                print(f"! {name} is left out: {error}", file=sys.stderr, flush=True)
        return running

    def stop(self, contender: Contender):
        if contender.process:
            stop_process(contender.process, signal.Signals[contender.stop_signal])
            contender.process = None
            self.started.remove(contender)

    def stop_all(self):
        for contender in list(self.started):
            self.stop(contender)

    def measure(self, contender: Contender, workload: Workload) -> dict:
        """One run: wsload's report. Idle workloads want a fresh process."""
        name, *arguments = workload.arguments
        scheme, port = ("wss", contender.port + 1) if workload.tls else ("ws", contender.port)
        command = [str(WSLOAD), name, f"{scheme}://localhost:{port}/", "--json", *arguments]
        if not workload.idle:
            command += ["--duration", str(self.seconds), "--warmup", "0.3"]
        for label, process in {"backend": self.backend, "proxy": contender.process}.items():
            if process:
                command += ["--watch", f"{label}={process.pid}"]
        report = self._generate(command)
        log = self.folder / contender.name / "output.log"
        if log.exists() and log.stat().st_size > LONGEST_LOG:
            os.truncate(log, 0)  # it is open for appending, so it goes on at 0
        return report

    def _generate(self, command: list[str]) -> dict:
        generator = spawn(command, self.generator_processors, {"RUST_BACKTRACE": "0"}, log=None)
        try:
            said, error = generator.communicate(timeout=300)
            return json.loads(said)
        except json.JSONDecodeError:
            return {"errors": 1, "first_error": " ".join(error.decode().split()) or f"exit {generator.returncode}"}
        except subprocess.TimeoutExpired:
            generator.kill()
            generator.communicate()
            return {"errors": 1, "first_error": "the generator was not done after 300 s"}


def spawn(command, processors, environment=None, log: Path | None = None) -> subprocess.Popen:
    """A process on these processors; what it says goes to a log, or, with none, to pipes."""
    pin = lambda: os.sched_setaffinity(0, processors)
    options = {"env": os.environ | (environment or {}), "stdin": subprocess.DEVNULL, "preexec_fn": pin}
    if log is None:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    with open(log, "ab") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, **options)


def stop_process(process: subprocess.Popen, stop_signal: int = signal.SIGTERM):
    process.send_signal(stop_signal)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _refuse_taken_port(port: int):
    """Several processes may listen on one port (SO_REUSEPORT): one that was left behind would take half of the work."""
    with contextlib.suppress(OSError):
        socket.create_connection((ADDRESS, port), timeout=1).close()
        raise RuntimeError(f"something listens on port {port} already; --base-port takes another range")


def _wait_for_port(port: int, process: subprocess.Popen, log: Path, seconds: float = 15):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection((ADDRESS, port), timeout=1).close()
            return
        time.sleep(0.02)
    stop_process(process)
    raise RuntimeError(f"nothing listens on port {port}: {log.read_text()[-1000:].strip() or 'and it says nothing'}")
