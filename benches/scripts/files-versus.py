#!/usr/bin/env python3
"""Compares dapple files with other file servers over encrypted connections, per CPU second.

Needs Linux, openssl, taskset, and a release build:

    cargo build --release && cargo build --release -p dapple-benches --bins
    benches/scripts/files-versus.py [--rounds N] [--servers A,B] [--cases A,B] [--workers 1,2] [--json FILE]
    benches/scripts/files-versus.py --servers dapple,before --before PATH    # two builds

The peers are those of nginx, Apache (mod_dav), rclone serve webdav, and OpenSSH sftp (with its
default cipher and with AES-128-GCM) that are installed, and fileslimit: a server without features,
once with rustls's buffers and once with encryption in place. All but sftp speak TLS 1.3 with the
one cipher that the client offers.

In each round, each server is started once, runs alone, warms up (each small file is requested
twice, and some are uploaded), and then serves each case once. With one worker, the server has the
first core and the client the second; with two workers, both have both cores. The CPU time of the
server is that of its processes and all their descendants. A client that shares no core with the
server never sleeps, except sftp's: waking it up would be a large part of what is measured, in
particular on a virtual machine.

The cases are get and put of one large file by 1 client, or of its eighths by 8 clients (a file
each), and get and put of 10,000 files of 4 KB by 1 or 8 clients. Uploaded files are removed before
each run. The script prints medians of the rounds: GB (10^9 bytes), or requests for small files, per
CPU second of the server; its ratios to another build, to nginx and to fileslimit in the same round;
the rate by the clock; and the CPU time of the client per CPU time of the server."""
import argparse, json, mmap, os, pathlib, shutil, signal, socket, statistics, subprocess, sys, tempfile, threading, time

SMALL = 4096
WARM = 200
CASES = [f'{op}-{size}-{clients}' for size in ('large', 'small') for op in ('get', 'put') for clients in (1, 8)]
SERVERS = ['dapple', 'before', 'fileslimit', 'in-place', 'nginx', 'apache', 'rclone', 'sftp',
           'sftp-aes']

release = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../target/release')
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument('--rounds', type=int, default=15)
parser.add_argument('--servers', default=None,
                    help=f'comma-separated names of {", ".join(SERVERS)} [default: all]')
parser.add_argument('--cases', default=','.join(CASES),
                    help=f'comma-separated names, or their prefixes, of {", ".join(CASES)} '
                         '[default: all]')
parser.add_argument('--workers', default='1,2')
parser.add_argument('--server-cores', help='[default: 0 for one worker, 0,1 for two]')
parser.add_argument('--client-cores', help='[default: 1 for one worker, 0,1 for two]')
parser.add_argument('--no-spin', action='store_true',
                    help='let the client sleep even if it shares no core with the server')
parser.add_argument('--large-mb', type=int, default=512,
                    help='size of the large file in MiB, a multiple of 8')
parser.add_argument('--small', type=int, default=10000, help='number of small files')
parser.add_argument('--cipher', default='aes128', choices=['aes128', 'aes256', 'chacha20'])
parser.add_argument('--tmp',
                    help='the folder for the files [default: /dev/shm, which is no disk]')
parser.add_argument('--bin', default=release, help='the folder of dapple, filesload and fileslimit')
parser.add_argument('--before', metavar='PATH',
                    help='another build of dapple: the server named before')
parser.add_argument('--json', metavar='FILE', help='also write the figures of all runs to this file')
args = parser.parse_args()
CASES = [c for c in CASES if any(c.startswith(told) for told in args.cases.split(','))]
LARGE = args.large_mb << 20
tmp = args.tmp or ('/dev/shm' if os.access('/dev/shm', os.W_OK) and shutil.disk_usage('/dev/shm').free > 6 * LARGE else None)
work = pathlib.Path(tempfile.mkdtemp(prefix='files-versus-', dir=tmp))
work.chmod(0o755)
files = work / 'files'
cert, key = work / 'cert.pem', work / 'key.pem'


class Failed(Exception):
    """A failure of one run, or of one server."""


def warn(text):
    print(text, file=sys.stderr, flush=True)


def find(*names):
    for name in names:
        found = shutil.which(name, path=os.pathsep.join([args.bin, os.environ.get('PATH', ''), '/usr/sbin', '/usr/local/sbin']))
        if found:
            return found
    raise Failed(f'{names[0]} was not found')


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def stat(pid):
    """Returns the parent of a process, and the CPU seconds of its children that have ended."""
    fields = open(f'/proc/{pid}/stat').read().rsplit(')', 1)[1].split()
    return int(fields[1]), (int(fields[13]) + int(fields[14])) / os.sysconf('SC_CLK_TCK')


def family(pid):
    """Returns a process and all its descendants."""
    children = {}
    for name in filter(str.isdigit, os.listdir('/proc')):
        try:
            children.setdefault(stat(name)[0], []).append(int(name))
        except OSError:
            pass
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def kill(pid):
    """Kills a process and all its descendants."""
    for member in family(pid):
        try:
            os.kill(member, signal.SIGKILL)
        except ProcessLookupError:
            pass


def cpu(pid):
    """Returns the CPU seconds of a process and all its descendants, as filesload counts them.

    For living processes, these are the times of their CPU clocks, in nanoseconds. The expression
    is Linux's number of the CPU clock of a process. For those that have ended they are ticks."""
    seconds = 0.0
    for member in family(pid):
        try:
            seconds += time.clock_gettime_ns((~member << 3) | 2) / 1e9 + stat(member)[1]
        except OSError:
            pass
    return seconds


class Server:
    """A running server. `puts` says whether it accepts uploads."""
    puts = True
    user = None

    def __init__(self, name, workers, server_cores, client_cores):
        self.name, self.workers, self.cores, self.client_cores = name, workers, server_cores, client_cores
        self.port = free_port()
        self.home = work / name
        self.home.mkdir(exist_ok=True)
        self.log = open(self.home / 'log', 'wb')
        self.process = None

    def spawn(self, command, **more):
        self.process = subprocess.Popen(['taskset', '-c', self.cores, *map(str, command)], stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log, start_new_session=True, **more)

    def __enter__(self):
        try:
            self.start()
            for _ in range(500):
                if self.process.poll() is not None:
                    break
                try:
                    socket.create_connection(('127.0.0.1', self.port)).close()
                    self.warm()
                    return self
                except OSError:
                    time.sleep(0.02)
            raise Failed('it did not start: ' + (self.home / 'log').read_text(errors='replace')[-500:])
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Asks the server to end, so that it waits for its own children.

        If it does not end in time, it is stopped and killed with its children. It is stopped first
        because it could start others."""
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGSTOP)
                kill(self.process.pid)
                self.process.wait()
            # Processes of its group that have lost their parent are killed here.
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process = None
        self.log.close()

    def warm(self):
        for _ in range(2):
            self.load('get', 'small/', 8, '--many', args.small, '--size', SMALL)
        if self.puts:
            self.load('put', f'put-{self.name}/', 8, '--many', min(WARM, args.small), '--size', SMALL)

    def load(self, op, folder, clients, *what):
        command = ['taskset', '-c', self.client_cores, find('filesload'), '--json', '--op', op, '--clients', clients,
                   '--url', f'https://127.0.0.1:{self.port}/{folder}', '--server-pid', self.process.pid, '--cipher', args.cipher]
        command += ['--user', self.user] if self.user else []
        # The threads of a client that shares cores with the server are not pinned to a core each,
        # and sleep.
        if set(self.cores.split(',')).isdisjoint(self.client_cores.split(',')):
            command += ['--cores', self.client_cores] + ([] if args.no_spin else ['--spin'])
        done = subprocess.run([*map(str, command), *map(str, what)], capture_output=True, text=True, timeout=600)
        if done.returncode:
            raise Failed(done.stderr.strip())
        return json.loads(done.stdout)

    def run(self, op, size, clients):
        folder = f'put-{self.name}/' if op == 'put' else 'small/' if size == 'small' else ''
        if size == 'small':
            return self.load(op, folder, clients, '--many', args.small, '--size', SMALL)
        if clients == 1 and op == 'get':
            return self.load(op, folder, 1, '--file', 'large', '--size', LARGE)
        return self.load(op, folder, clients, '--file', 'part', '--own', '--size', LARGE // clients)


class Dapple(Server):
    user = 'bench:secret'

    def program(self):
        return find('dapple')

    def start(self):
        dapple, state = self.program(), self.home / 'state'
        if not state.exists():
            done = subprocess.run([dapple, 'files', 'user', 'add', 'bench', '--password-stdin', '--state', state],
                                  input='secret\nsecret\n', capture_output=True, text=True)
            if done.returncode:
                raise Failed('the user could not be added: ' + done.stderr.strip())
        self.spawn([dapple, 'files', files, '--listen', f'127.0.0.1:{self.port}', '--workers', self.workers,
                    '--cores', self.cores, '--state', state])
        # The server is ready when it has printed its address.
        for _ in range(500):
            if f'https://127.0.0.1:{self.port}/' in (self.home / 'log').read_text(errors='replace'):
                return
            if self.process.poll() is not None:
                return
            time.sleep(0.02)


class Before(Dapple):
    def program(self):
        if not args.before:
            raise Failed('the server before needs --before PATH')
        return args.before


class Limit(Server):
    more = []

    def start(self):
        self.spawn([find('fileslimit'), '--dir', files, '--listen', f'127.0.0.1:{self.port}', '--workers', self.workers,
                    '--cores', self.cores, *self.more])


class InPlace(Limit):
    more = ['--in-place']


class Nginx(Server):
    # Under TLS nginx reads content into buffers and encrypts it, unless the kernel can encrypt.
    CONF = '''
daemon off; worker_processes {workers}; pid {home}/pid; error_log {home}/error.log; user {user};
events {{ worker_connections 1024; use epoll; multi_accept on; }}
http {{
  include /etc/nginx/mime.types; access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; output_buffers 2 128k;
  keepalive_timeout 60; keepalive_requests 1000000000; open_file_cache max=20000 inactive=60s; open_file_cache_valid 60s;
  client_max_body_size 0; client_body_buffer_size 128k; client_body_temp_path {home}/b;
  proxy_temp_path {home}/p; fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;
  server {{
    listen 127.0.0.1:{port} ssl; root {files}; {dav}
    ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.3; ssl_buffer_size 16k; {ktls}
  }}
}}
'''

    def start(self):
        nginx = find('nginx')
        self.puts = '--with-http_dav_module' in subprocess.run([nginx, '-V'], capture_output=True, text=True).stderr
        ulp = pathlib.Path('/proc/sys/net/ipv4/tcp_available_ulp')
        ktls = ulp.exists() and 'tls' in ulp.read_text().split()
        (self.home / 'nginx.conf').write_text(self.CONF.format(
            workers=self.workers, home=self.home, port=self.port, files=files, cert=cert, key=key,
            user='root' if os.geteuid() == 0 else 'nobody', dav='dav_methods PUT;' if self.puts else '',
            ktls='ssl_conf_command Options KTLS;' if ktls else ''))
        self.spawn([nginx, '-c', self.home / 'nginx.conf', '-e', self.home / 'error.log'])


class Apache(Server):
    CONF = '''
ServerRoot {home}
ServerName localhost
PidFile {home}/pid
ErrorLog {home}/error.log
Listen 127.0.0.1:{port}
{modules}
User {user}
Group {group}
ServerLimit 1
StartServers 1
ThreadsPerChild 64
ThreadLimit 64
MaxRequestWorkers 64
MinSpareThreads 1
MaxSpareThreads 64
MaxConnectionsPerChild 0
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 60
EnableMMAP On
EnableSendfile On
FileETag None
LimitRequestBody 0
SSLEngine On
SSLProtocol TLSv1.3
SSLCertificateFile {cert}
SSLCertificateKeyFile {key}
SSLSessionCache none
DavLockDB {home}/var/locks
DocumentRoot {files}
<Directory />
  Require all granted
  AllowOverride None
  Options None
</Directory>
<Location />
  Dav On
</Location>
'''
    MODULES = ['mpm_event', 'authz_core', 'ssl', 'dav', 'dav_fs']

    def start(self):
        apache = find('apache2', 'httpd')
        modules = next((d for d in ('/usr/lib/apache2/modules', '/usr/lib64/httpd/modules') if os.path.isdir(d)), None)
        if not modules:
            raise Failed('the folder of its modules was not found')
        # Apache refuses to serve as root.
        root = os.geteuid() == 0
        (self.home / 'var').mkdir(exist_ok=True)
        (self.home / 'var').chmod(0o777)
        (self.home / 'apache.conf').write_text(self.CONF.format(
            home=self.home, port=self.port, files=files, cert=cert, key=key,
            user='nobody' if root else f'#{os.geteuid()}', group='nogroup' if root else f'#{os.getegid()}',
            modules='\n'.join(f'LoadModule {m}_module {modules}/mod_{m}.so' for m in self.MODULES)))
        self.spawn([apache, '-D', 'FOREGROUND', '-f', self.home / 'apache.conf'])


class Rclone(Server):
    def start(self):
        (self.home / 'rclone.conf').touch()
        self.spawn([find('rclone'), 'serve', 'webdav', files, '--addr', f'127.0.0.1:{self.port}', '--cert', cert, '--key', key,
                    '--config', self.home / 'rclone.conf', '--cache-dir', self.home / 'cache', '--log-level', 'ERROR'],
                   env={**os.environ, 'GOMAXPROCS': str(self.workers)})


class Sftp(Server):
    CONF = '''
ListenAddress 127.0.0.1:{port}
HostKey {home}/host
AuthorizedKeysFile {home}/client.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
UseDNS no
LogLevel ERROR
Subsystem sftp internal-sftp
'''
    ciphers = []

    def start(self):
        sshd, keygen = find('sshd'), find('ssh-keygen')
        if os.geteuid() != 0:
            raise Failed('sshd needs root')
        os.makedirs('/run/sshd', exist_ok=True)
        for name in ('host', 'client'):
            if not (self.home / name).exists():
                subprocess.run([keygen, '-q', '-t', 'ed25519', '-N', '', '-f', self.home / name], check=True)
        (self.home / 'sshd.conf').write_text(self.CONF.format(home=self.home, port=self.port))
        self.spawn([sshd, '-D', '-e', '-f', self.home / 'sshd.conf'])

    def warm(self):
        self.transfer([[f'get {files}/small/f00000 {self.home}/warm.{n}'] for n in range(8)])

    def run(self, op, size, clients):
        into, goal = self.home / 'in', files / f'put-{self.name}'
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir()
        names = [f'f{i:05}' for i in range(args.small)]
        share = lambda c: names[c::clients]
        if (op, size) == ('get', 'small'):
            batches = [[f'get {files}/small/{n} {into}/{n}' for n in share(c)] for c in range(clients)]
        elif (op, size) == ('put', 'small'):
            batches = [[f'put {files}/small/{n} {goal}/{n}' for n in share(c)] for c in range(clients)]
        else:
            name = (lambda c: 'large') if clients == 1 else (lambda c: f'part.{c}')
            one = (lambda n: f'get {files}/{n} /dev/null') if op == 'get' else (lambda n: f'put {files}/{n} {goal}/{n}')
            batches = [[one(name(c))] for c in range(clients)]
        found = self.transfer(batches)
        requests = args.small if size == 'small' else clients
        total = args.small * SMALL if size == 'small' else LARGE
        if op == 'put':
            arrived = sum(e.stat().st_size for e in os.scandir(goal))
            if arrived != total:
                raise Failed(f'{arrived} bytes arrived instead of {total}')
        wall, server, client = found
        return {'op': op, 'bytes': total, 'requests': requests, 'wall_s': wall, 'server_cpu_s': server,
                'client_cpu_s': client, 'gb_per_server_cpu_s': total / server / 1e9,
                'requests_per_server_cpu_s': requests / server, 'mb_per_s': total / wall / 1e6}

    def transfer(self, batches):
        """Runs each batch with a client of its own.

        sshd has a process or two for each connection. They end with the connection, and sshd does
        not always wait for them. So the CPU time is read while all connections exist: after all
        have logged in, and after all are done but before they log out. As with TLS, the login is
        not part of it."""
        clients = []
        command = ['taskset', '-c', self.client_cores, find('sftp'), '-q', '-b', '-', '-P', self.port, '-i', self.home / 'client',
                   '-F', '/dev/null', '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'IdentitiesOnly=yes',
                   *self.ciphers, '127.0.0.1']
        try:
            for batch in batches:
                clients.append(subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                                stderr=self.log))
            for c in clients:
                c.stdin.write(b'pwd\n!echo here\n')
                c.stdin.flush()
            for c in clients:
                self.await_line(c, b'here')
            server, client, start = cpu(self.process.pid), sum(cpu(c.pid) for c in clients), time.monotonic()
            # A batch can be longer than a pipe's buffer, so a thread writes it.
            feeders = [threading.Thread(target=self.feed, args=pair, daemon=True) for pair in zip(clients, batches)]
            for f in feeders:
                f.start()
            for c in clients:
                self.await_line(c, b'done')
            wall = time.monotonic() - start
            server, client = cpu(self.process.pid) - server, sum(cpu(c.pid) for c in clients) - client
            for f in feeders:
                f.join()
            for c in clients:
                c.stdin.close()
                if c.wait(timeout=60):
                    raise Failed('sftp failed: ' + (self.home / 'log').read_text(errors='replace')[-500:])
            return wall, server, client
        finally:
            for c in clients:
                if c.poll() is None:
                    kill(c.pid)
                c.wait()
                c.stdout.close()

    @staticmethod
    def feed(client, batch):
        try:
            client.stdin.write('\n'.join(batch + ['!echo done', '']).encode())
            client.stdin.flush()
        except OSError:
            pass  # The client has ended; `await_line` reports it.

    def await_line(self, client, wanted):
        for line in client.stdout:
            if line.strip() == wanted:
                return
        raise Failed('sftp ended early: ' + (self.home / 'log').read_text(errors='replace')[-500:])


class SftpAes(Sftp):
    ciphers = ['-c', 'aes128-gcm@openssh.com']


KINDS = dict(zip(SERVERS, [Dapple, Before, Limit, InPlace, Nginx, Apache, Rclone, Sftp, SftpAes]))


def prepare():
    """Makes the files, a certificate, and a folder for the uploads to each server."""
    files.mkdir()
    (files / 'small').mkdir()
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
                    '-keyout', key, '-out', cert, '-days', '30', '-subj', '/CN=localhost',
                    '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'], check=True, capture_output=True)
    with open(files / 'large', 'wb') as large:
        for n in range(8):
            content = os.urandom(LARGE // 8)
            large.write(content)
            (files / f'part.{n}').write_bytes(content)
    for n in range(args.small):
        (files / 'small' / f'f{n:05}').write_bytes(os.urandom(SMALL))
    for name in KINDS:
        (files / f'put-{name}').mkdir()
        (files / f'put-{name}').chmod(0o777)
    os.sync()


def clear(folder):
    for entry in os.scandir(folder):
        shutil.rmtree(entry) if entry.is_dir() else os.unlink(entry)


def back_memory(size):
    """Allocates and frees memory, so that the host of a virtual machine backs it.

    The first use of memory that the host has not backed costs several times as much as writing to
    it. Without this function, one server or another would pay for that by chance."""
    mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE).close()


def one_round(workers, names, runs):
    """Has each server serve each case once.

    A server that fails is reported, and left out from then on."""
    server_cores = args.server_cores or ('0' if workers == 1 else '0,1')
    client_cores = args.client_cores or ('1' if workers == 1 else '0,1')
    for name in list(names):
        try:
            with KINDS[name](name, workers, server_cores, client_cores) as server:
                for case in CASES:
                    op, size, clients = case.split('-')
                    if op == 'put' and not server.puts:
                        runs.setdefault((case, name), []).append(None)
                        continue
                    clear(files / f'put-{name}')
                    back_memory(2 * LARGE)
                    try:
                        found = server.run(op, size, int(clients))
                    except (Failed, subprocess.TimeoutExpired) as e:
                        warn(f'{name}, {case}: {e}')
                        found = None
                    runs.setdefault((case, name), []).append(found)
                clear(files / f'put-{name}')
        except Failed as e:
            warn(f'{name} is left out: {e}')
            names.remove(name)


def report(workers, names, runs):
    for case in CASES:
        small = 'small' in case
        field = 'requests_per_server_cpu_s' if small else 'gb_per_server_cpu_s'
        print(f'\n{case}, {workers} worker{"s" if workers > 1 else ""}')
        print(f'  {"":<11} {"requests/CPU s" if small else "GB/CPU s":>14} '
              f'{": before":>9} {": nginx":>9} {": limit":>9} '
              f'{"requests/s" if small else "MB/s":>11} {"client/server CPU":>18}')
        for name in names:
            # The ratios compare runs of the same round.
            values = [r and r[field] for r in runs.get((case, name), [])]
            good = [r for r in runs.get((case, name), []) if r]
            if not good:
                print(f'  {name:<11} {"-":>14}')
                continue
            ratios = []
            for peer in ('before', 'nginx', 'fileslimit'):
                peers = [r and r[field] for r in runs.get((case, peer), [])]
                pairs = [a / b for a, b in zip(values, peers) if a and b]
                ratios.append(f'{statistics.median(pairs):.2f}' if pairs and peer != name else '-')
            value = statistics.median(v for v in values if v)
            rate = statistics.median(r['requests'] / r['wall_s'] if small else r['mb_per_s'] for r in good)
            client = statistics.median(r['client_cpu_s'] / r['server_cpu_s'] for r in good)
            print(f'  {name:<11} {value:>14.{0 if small else 3}f} '
                  f'{ratios[0]:>9} {ratios[1]:>9} {ratios[2]:>9} {rate:>11.0f} {client:>18.2f}')
    sys.stdout.flush()


def main():
    all_servers = [s for s in SERVERS if s != 'before' or args.before]
    names = args.servers.split(',') if args.servers else all_servers
    for unknown in set(names) - set(KINDS):
        sys.exit(f'no server is called {unknown}')
    if not CASES:
        sys.exit('no case has such a name')
    find('filesload')
    prepare()
    record = []
    print(f'{args.rounds} rounds, {LARGE} B and {args.small} x {SMALL} B in {work.parent}, {args.cipher}, '
          f'load average {os.getloadavg()[0]:.1f}', flush=True)
    for workers in map(int, args.workers.split(',')):
        runs, left = {}, list(names)
        try:
            for n in range(args.rounds):
                if sys.stderr.isatty():
                    print(f'\r{workers} workers, round {n + 1} of {args.rounds} ', end='', file=sys.stderr, flush=True)
                # Each round begins with another server.
                one_round(workers, left, runs)
                left = left[1:] + left[:1]
        finally:
            report(workers, [n for n in names if any((c, n) in runs for c in CASES)], runs)
            for (case, name), found in runs.items():
                record += [{'workers': workers, 'case': case, 'server': name, 'round': n, **r} for n, r in enumerate(found) if r]
            if args.json:
                pathlib.Path(args.json).write_text(json.dumps(record, indent=1))


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


ending = []


def end(number, _):
    """Ends this script and its servers. Further signals are ignored."""
    if not ending:
        ending.append(number)
        sys.exit(128 + number)


for number in SIGNALS:
    signal.signal(number, end)
try:
    main()
except Failed as e:
    sys.exit(str(e))
finally:
    shutil.rmtree(work, ignore_errors=True)
