#!/usr/bin/env python3
"""dapple web beside nginx: the same files, server and client each on a core of its own, runs interleaved.

Needs Linux, nginx, wrk and taskset, and a release build:
    cargo build --release
    benches/scripts/web-vs-nginx.py DIR PATH [PATH ...]

Prints, per number of connections: requests per second, requests per CPU second of the server, and the 99th
percentile of the latency that wrk saw; medians of the runs, and the ratios dapple : nginx.
nginx+cache and dapple+valid look once a second whether a file has changed (open_file_cache_valid
1s, --cache-valid 1000), nginx for each request, dapple for each batch of them."""
import argparse, os, re, shutil, signal, socket, statistics, subprocess, sys, tempfile, time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument('dir', help='the folder to serve')
parser.add_argument('path', nargs='+', help='files to ask for, below it; more than one: in turn')
parser.add_argument('--connections', default='64,512')
parser.add_argument('--rounds', type=int, default=15)
parser.add_argument('--seconds', type=int, default=2)
parser.add_argument('--server-core', default='0')
parser.add_argument('--client-core', default='1')
parser.add_argument('--dapple', default=os.path.join(os.path.dirname(__file__), '../../target/release/dapple'))
parser.add_argument('--before', help='another build of dapple, which runs beside')
parser.add_argument('--more', default='', help='further arguments for dapple web')
args = parser.parse_args()
folder = os.path.abspath(args.dir)
work = tempfile.mkdtemp(prefix='web-vs-nginx-')
os.chmod(work, 0o755)

def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]

NGINX = '''
daemon off; master_process off; worker_processes 1; pid {work}/pid; error_log {work}/error.log;
events {{ worker_connections 4096; use epoll; multi_accept on; }}
http {{
  include /etc/nginx/mime.types; access_log off; sendfile on; tcp_nopush on; tcp_nodelay on;
  keepalive_timeout 60; keepalive_requests 100000000; {cache}
  client_body_temp_path {work}/b; proxy_temp_path {work}/p; fastcgi_temp_path {work}/f; uwsgi_temp_path {work}/u; scgi_temp_path {work}/s;
  server {{ listen 127.0.0.1:{port} backlog=1024; root {folder}; }}
}}
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
        fields = open(f'/proc/{self.process.pid}/stat').read().rsplit(')', 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def run(self, connections):
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

servers = []
for name, cache in [('nginx', ''), ('nginx+cache', 'open_file_cache max=10000 inactive=60s; open_file_cache_valid 1s;')]:
    port = free_port()
    conf = f'{work}/{name}.conf'
    with open(conf, 'w') as f:
        f.write(NGINX.format(work=work, port=port, folder=folder, cache=cache))
    servers.append(Server(name, port, [shutil.which('nginx') or '/usr/sbin/nginx', '-c', conf, '-e', f'{work}/error.log']))
builds = [('dapple', args.dapple, []), ('dapple+valid', args.dapple, ['--cache-valid', '1000'])]
if args.before:
    builds.append(('before', args.before, []))
for name, program, more in builds:
    port = free_port()
    command = [program, 'web', folder, '--listen', f'127.0.0.1:{port}']
    servers.append(Server(name, port, command + more + args.more.split()))
pairs = [('dapple', 'nginx'), ('dapple', 'nginx+cache'), ('dapple+valid', 'nginx+cache')]
if args.before:
    pairs.append(('dapple', 'before'))

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
            rate, per_cpu, p99 = (statistics.median(a[i] / b[i] for a, b in rounds) for i in range(3))
            print(f'  {own} : {peer:<11} {rate:.2f} x req/s, {per_cpu:.2f} x req/CPU s, {p99:.2f} x p99')
finally:
    for s in servers:
        s.process.send_signal(signal.SIGKILL)
    shutil.rmtree(work, ignore_errors=True)
