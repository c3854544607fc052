# SPDX-License-Identifier: MIT
"""Servers that the scripts of this folder start on free ports of 127.0.0.1 and end with a `with` block."""
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, "build", "release")
PROGRAMS = os.path.join(BUILD, "bench")
SKINKD = os.path.join(BUILD, "skinkd")
DEMO = os.path.join(BUILD, "examples", "demo.so")
TOUR = os.path.join(BUILD, "examples", "tour.so")
PEERS = os.path.join(ROOT, "bench", "peers")


def say(text):
    print(text, file=sys.stderr, flush=True)


def build():
    for command in (["cmake", "--preset", "release"], ["cmake", "--build", "--preset", "release", "-j", "2"]):
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            sys.exit(done.stdout + "bench: the build failed")


def find(program):
    """The path of a program that may stand where only root's PATH leads; None if it is not installed."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fetch(port, path):
    """The whole answer to one GET."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while True:
            piece = connection.recv(65536)
            if not piece:
                return answer
            answer += piece


class Server:
    """A program that listens on a port of 127.0.0.1. All of its processes are ended with it."""

    def __init__(self, command, port, cpu=None, directory=None, environment=None):
        self.command, self.port, self.cpu = command, port, cpu
        self.directory = directory  # removed afterwards
        self.environment = environment
        self.process = None

    def __enter__(self):
        command = (["taskset", "-c", str(self.cpu)] if self.cpu is not None else []) + self.command
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        env=self.environment)
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__()
                    sys.exit(f"bench: {' '.join(command)} does not listen")
                time.sleep(0.02)

    def __exit__(self, *_):
        pids = self.pids()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                pass
        for pid in pids:  # workers that are stuck outlive their master
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        if self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def pids(self):
        """Of the process and its descendants."""
        parents = {}
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    parents[int(name)] = int(file.read().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                pass
        found = [self.process.pid] if self.process.pid in parents else []
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def cpu_ns(self):
        """Processor time of all its threads so far."""
        total = 0
        for pid in self.pids():
            for tid in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{tid}/schedstat", encoding="ascii") as file:
                    total += int(file.read().split()[0])
        return total

    def memory_bytes(self):
        """What all its processes hold, shared pages divided among those that share them."""
        total = 0
        for pid in self.pids():
            try:
                with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
                    total += sum(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))
            except (FileNotFoundError, ProcessLookupError):
                pass
        return total


def skinkd(port, stats_port, cpu=None, settings=()):
    command = [SKINKD, "--module", DEMO, "--module", TOUR]
    for setting in (f"http.listen=127.0.0.1:{port}", f"stats.listen=127.0.0.1:{stats_port}",
                    "http.max_connections=20000", *settings):
        command += ["--set", setting]
    return Server(command, port, cpu)


def from_template(name, **values):
    """A directory of its own, and in it the file of peers/ with @NAME@ replaced."""
    directory = tempfile.mkdtemp(prefix="skink-bench-")
    with open(os.path.join(PEERS, name), encoding="ascii") as file:
        text = file.read()
    for key, value in dict(values, DIRECTORY=directory, PEERS=PEERS).items():
        text = text.replace(f"@{key}@", str(value))
    path = os.path.join(directory, name)
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    return directory, path


def nginx(port, cpu=None):
    directory, path = from_template("nginx.conf", PORT=port)
    return Server([find("nginx"), "-p", directory, "-c", path], port, cpu, directory)


def node(port, cpu=None):
    return Server([find("node"), os.path.join(PEERS, "node.js"), str(port)], port, cpu)
