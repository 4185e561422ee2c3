#!/usr/bin/env python3
"""Compares dapple web with other web servers.

Needs Linux, nginx, wrk, taskset, and a release build:

    cargo build --release
    benches/scripts/web-versus.py DIR PATH [PATH ...]

All servers serve the same files. The server and the client have a core each, and the runs are
interleaved. h2o, Apache and a server on hyper (cargo build --release -p dapple-benches --bin
hyperfiles) take part if they are installed. With --http2, all but hyper run over TLS, with h2load.

For each number of connections, the script prints requests per second, requests per CPU second of
the server, and the 99th percentile of the latency that wrk saw, as medians of the runs, and the
ratios of dapple to the others. nginx checks for each request whether a file has changed, and dapple
for each batch of requests. nginx+cache and dapple+valid check once a second (open_file_cache_valid
1s, --cache-valid 1000). dapple+all has a log, listings, a dashboard, figures, limits and CORS."""
import argparse, os, re, shutil, signal, socket, statistics, subprocess, sys, tempfile, time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument('dir', help='the folder to serve')
parser.add_argument('path', nargs='+', help='files below DIR to request, in turn')
parser.add_argument('--connections', default='64,512')
parser.add_argument('--rounds', type=int, default=15)
parser.add_argument('--seconds', type=int, default=2)
parser.add_argument('--server-core', default='0')
parser.add_argument('--client-core', default='1')
parser.add_argument('--dapple', default=os.path.join(os.path.dirname(__file__), '../../target/release/dapple'))
parser.add_argument('--before', help='another build of dapple to compare with')
parser.add_argument('--more', default='', help='further arguments for dapple web')
parser.add_argument('--http2', type=int, metavar='STREAMS',
                    help='use HTTP/2 over TLS, with this number of requests at once per connection')
args = parser.parse_args()
folder = os.path.abspath(args.dir)
work = tempfile.mkdtemp(prefix='web-versus-')
os.chmod(work, 0o755)

def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]

NGINX = '''
daemon off; master_process off; worker_processes 1; pid {work}/pid; error_log {work}/error.log;
events {{ worker_connections 16384; use epoll; multi_accept on; }}
http {{
  include /etc/nginx/mime.types; access_log off; sendfile on; tcp_nopush on; tcp_nodelay on;
  keepalive_timeout 60; keepalive_requests 100000000; {cache}
  client_body_temp_path {work}/b; proxy_temp_path {work}/p; fastcgi_temp_path {work}/f; uwsgi_temp_path {work}/u; scgi_temp_path {work}/s;
  server {{ listen 127.0.0.1:{port} {tls} backlog=1024; root {folder}; {certificate} }}
}}
'''

H2O = '''
num-threads: 1
max-connections: 8192
http2-idle-timeout: 60
listen:
  host: 127.0.0.1
  port: {port}
  {certificate}
hosts:
  default:
    paths:
      /:
        file.dir: {folder}
'''

APACHE = '''
ServerRoot {work}
ServerName localhost
PidFile {work}/apache.pid
Listen 127.0.0.1:{port}
ErrorLog {work}/apache-errors
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule dir_module {modules}/mod_dir.so
LoadModule mime_module {modules}/mod_mime.so
LoadModule ssl_module {modules}/mod_ssl.so
LoadModule http2_module {modules}/mod_http2.so
TypesConfig /etc/mime.types
DocumentRoot {folder}
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 60
StartServers 1
ServerLimit 1
ThreadLimit 64
ThreadsPerChild 64
MaxRequestWorkers 64
AsyncRequestWorkerFactor 100
<Directory {folder}>
Require all granted
</Directory>
{certificate}
'''

class Server:
    def __init__(self, name, port, command):
        self.name, self.port = name, port
        self.process = subprocess.Popen(['taskset', '-c', args.server_core] + command,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            try:
                socket.create_connection(('127.0.0.1', port)).close()
                return
            except OSError:
                time.sleep(0.02)
        sys.exit(f'{name} does not answer')

    def cpu(self):
        # The CPU time of the server and of the processes that it has started.
        pids = [self.process.pid] + [int(p) for p in open(
            f'/proc/{self.process.pid}/task/{self.process.pid}/children').read().split()]
        ticks = 0
        for pid in pids:
            fields = open(f'/proc/{pid}/stat').read().rsplit(')', 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf('SC_CLK_TCK')

    def run_http2(self, connections):
        before = self.cpu()
        urls = [f'https://127.0.0.1:{self.port}/{path.lstrip("/")}' for path in args.path]
        out = subprocess.run(
            ['taskset', '-c', args.client_core, 'h2load', '-t1', f'-c{connections}', f'-m{args.http2}', '-D',
             str(args.seconds)] + urls, capture_output=True, text=True).stdout
        cpu = self.cpu() - before
        rate = float(re.search(r'finished in [\d.]+s, ([\d.]+) req/s', out).group(1))
        good, failed = map(int, re.search(r'(\d+) succeeded, (\d+) failed', out).groups())
        if failed:
            print(f'{self.name}: {failed} failed', file=sys.stderr)
        return rate, good / cpu, 0

    def run(self, connections):
        if args.http2:
            return self.run_http2(connections)
        before = self.cpu()
        out = subprocess.run(
            ['taskset', '-c', args.client_core, 'wrk', '-t1', f'-c{connections}', f'-d{args.seconds}s', '--latency',
             '-s', script, f'http://127.0.0.1:{self.port}/'], capture_output=True, text=True).stdout
        cpu = self.cpu() - before
        requests = int(re.search(r'(\d+) requests in', out).group(1))
        rate = float(re.search(r'Requests/sec:\s*([\d.]+)', out).group(1))
        p99 = re.search(r'99%\s+([\d.]+)(us|ms|s)', out)
        p99 = float(p99.group(1)) * {'us': 1, 'ms': 1e3, 's': 1e6}[p99.group(2)]
        errors = re.search(r'Non-2xx or 3xx responses: (\d+)', out) or re.search(r'Socket errors: (.*)', out)
        if errors:
            print(f'{self.name}: {errors.group(0)}', file=sys.stderr)
        return rate, requests / cpu, p99

script = f'{work}/wrk.lua'
with open(script, 'w') as f:
    f.write('local paths = {%s}\nlocal n = 0\nrequest = function() n = n %% #paths + 1; return wrk.format("GET", paths[n]) end\n'
            % ', '.join('"/%s"' % p.lstrip('/') for p in args.path))

certificate, key = f'{work}/cert.pem', f'{work}/key.pem'
if args.http2:
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days',
                    '2', '-subj', '/CN=localhost', '-keyout', key, '-out', certificate], check=True, capture_output=True)
    os.chmod(key, 0o644)

servers = []
for name, cache in [('nginx', ''), ('nginx+cache', 'open_file_cache max=10000 inactive=60s; open_file_cache_valid 1s;')]:
    port = free_port()
    conf = f'{work}/{name}.conf'
    tls = ('ssl http2', f'ssl_certificate {certificate}; ssl_certificate_key {key};') if args.http2 else ('', '')
    with open(conf, 'w') as f:
        f.write(NGINX.format(work=work, port=port, folder=folder, cache=cache, tls=tls[0], certificate=tls[1]))
    servers.append(Server(name, port, [shutil.which('nginx') or '/usr/sbin/nginx', '-c', conf, '-e', f'{work}/error.log']))
if shutil.which('h2o'):
    port, conf = free_port(), f'{work}/h2o.conf'
    tls = f'ssl: {{ certificate-file: {certificate}, key-file: {key} }}' if args.http2 else ''
    with open(conf, 'w') as f:
        f.write(H2O.format(port=port, folder=folder, certificate=tls))
    servers.append(Server('h2o', port, ['h2o', '-c', conf]))
modules = '/usr/lib/apache2/modules'
if shutil.which('apache2') and os.path.isdir(modules):
    port, conf = free_port(), f'{work}/apache.conf'
    tls = f'SSLEngine on\nSSLCertificateFile {certificate}\nSSLCertificateKeyFile {key}\nProtocols h2' if args.http2 else ''
    with open(conf, 'w') as f:
        f.write(APACHE.format(work=work, port=port, folder=folder, modules=modules, certificate=tls))
    servers.append(Server('apache', port, ['apache2', '-f', conf, '-D', 'FOREGROUND']))
hyper = os.path.join(os.path.dirname(args.dapple), 'hyperfiles')
if os.path.exists(hyper) and not args.http2:
    port = free_port()
    servers.append(Server('hyper', port, [hyper, folder, f'127.0.0.1:{port}']))
everything = ['--list', '--dashboard', '--metrics', '--cors', '--max-per-address', '100000', '--access-log', f'{work}/log']
builds = [('dapple', args.dapple, []), ('dapple+valid', args.dapple, ['--cache-valid', '1000']),
          ('dapple+all', args.dapple, everything)]
if args.before:
    builds.append(('before', args.before, []))
for name, program, more in builds:
    port = free_port()
    tls = ['--tls', certificate, key] if args.http2 else []
    command = [program, 'web', folder, '--listen', f'127.0.0.1:{port}', '--workers', '1']
    servers.append(Server(name, port, command + tls + more + args.more.split()))
pairs = [('dapple', s.name) for s in servers if not s.name.startswith('dapple')]
pairs += [('dapple+valid', 'nginx+cache'), ('dapple+all', 'nginx+cache')]

try:
    for connections in map(int, args.connections.split(',')):
        runs = {s.name: [] for s in servers}
        for s in servers:
            s.run(connections)  # warm
        for _ in range(args.rounds):
            for s in servers:
                runs[s.name].append(s.run(connections))
        print(f'{connections} connections, {args.rounds} rounds of {args.seconds} s, load average {os.getloadavg()[0]:.1f}')
        print(f'  {"":<12} {"req/s":>10} {"req/CPU s":>11} {"p99 us":>8}')
        medians = {n: [statistics.median(c) for c in zip(*r)] for n, r in runs.items()}
        for name, (rate, per_cpu, p99) in medians.items():
            print(f'  {name:<12} {rate:>10.0f} {per_cpu:>11.0f} {p99:>8.0f}')
        for own, peer in pairs:
            rounds = list(zip(runs[own], runs[peer]))
            # h2load prints no percentiles.
            rate, per_cpu, p99 = (statistics.median(a[i] / b[i] if b[i] else 0 for a, b in rounds) for i in range(3))
            p99 = f', {p99:.2f} x p99' if p99 else ''
            print(f'  {own} : {peer:<11} {rate:.2f} x req/s, {per_cpu:.2f} x req/CPU s{p99}')
finally:
    for s in servers:
        s.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    for s in servers:
        s.process.kill()
    shutil.rmtree(work, ignore_errors=True)
