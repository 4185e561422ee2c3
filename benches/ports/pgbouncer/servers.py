"""Debian's PostgreSQL, certificates, and PgBouncers in front of it, for the scripts in this
folder."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

LOCAL = "127.0.0.1"
# PostgreSQL and PgBouncer refuse to run as root.
AS_USER = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []


def free_port():
    with socket.socket() as s:
        s.bind((LOCAL, 0))
        return s.getsockname()[1]


def wait_for(port):
    for _ in range(500):
        try:
            return socket.create_connection((LOCAL, port)).close()
        except OSError:
            time.sleep(0.02)
    raise SystemExit(f"nothing listens on port {port}")


def quietly(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def certificates(folder):
    made = {}
    for name, kind in (
        ("RSA-3072", ["-newkey", "rsa:3072"]),
        ("P-256", ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]),
    ):
        made[name] = (f"{folder}/{name}.key", f"{folder}/{name}.crt")
        quietly("openssl", "req", "-x509", *kind, "-nodes", "-days", "2", "-subj", "/CN=localhost",
                "-keyout", made[name][0], "-out", made[name][1])
        os.chmod(made[name][0], 0o644)
    return made


class Postgres:
    def __init__(self, folder):
        versions = sorted(os.listdir("/usr/lib/postgresql"), key=float)
        self.bin = os.path.join("/usr/lib/postgresql", versions[-1], "bin")
        self.data, self.port = f"{folder}/data", free_port()
        quietly(*AS_USER, f"{self.bin}/initdb", "-A", "trust", "-U", "postgres", self.data)
        quietly(*AS_USER, f"{self.bin}/pg_ctl", "-D", self.data, "-w",
                "-l", f"{folder}/postgres.log",
                "-o", f"-p {self.port} -k {folder} -h {LOCAL}", "start")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        quietly(*AS_USER, f"{self.bin}/pg_ctl", "-D", self.data, "-m", "fast", "stop")


class PgBouncer:
    """Processes that share a port, and are killed at the end.

    `more` is added to their configuration."""

    def __init__(self, folder, built, workers, processes, certificate, behind, more=""):
        self.port, self.processes = free_port(), []
        key, cert = certificate
        with open(f"{folder}/users.txt", "w") as f:
            f.write('"postgres" "secret"\n')
        for i in range(processes):
            configuration = f"{folder}/pgbouncer{i}.ini"
            with open(configuration, "w") as f:
                f.write(f"""[databases]
postgres = host={LOCAL} port={behind} user=postgres
[pgbouncer]
listen_addr = {LOCAL}
listen_port = {self.port}
so_reuseport = {int(processes > 1)}
auth_type = plain
auth_file = {folder}/users.txt
pool_mode = transaction
unix_socket_dir =
max_client_conn = 1000
log_connections = 0
log_disconnections = 0
log_stats = 0
client_tls_sslmode = require
client_tls_key_file = {key}
client_tls_cert_file = {cert}
{more}
""")
            environment = dict(os.environ, DAPPLE_WORKERS=str(workers))
            command = [f"{built}/pgbouncer", configuration]
            user = "postgres" if os.getuid() == 0 else None
            self.processes.append(subprocess.Popen(
                command, env=environment, user=user, stderr=open(f"{folder}/pgbouncer.log", "a")))

    def __enter__(self):
        wait_for(self.port)
        # The others begin to listen soon after.
        time.sleep(0.2)
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()

    def ends(self):
        """Tells the processes to end, and returns the status of each."""
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        return [process.wait(30) for process in self.processes]


class Folder:
    """A folder that PostgreSQL's user can write and all can read. It is removed at the end."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="pgbouncer-")
        os.chmod(self.path, 0o755)
        if os.getuid() == 0:
            shutil.chown(self.path, "postgres")
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path)
