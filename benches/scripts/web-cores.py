#!/usr/bin/env python3
"""Measures what a second core brings to dapple web.

Needs Linux, wrk, and a release build:

    cargo build --release
    benches/scripts/web-cores.py DIR PATH

The server runs with one worker, with two, with two without stealing, with two that run one callback
at a time (--serial), and as two processes of one worker each. Two processes of wrk send requests
over half of the connections each, and share the cores with the server. The script prints requests
per second and per CPU second of the server, as medians of the rounds, and the ratios to one
worker."""
import argparse, os, re, socket, statistics, subprocess, time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument('dir')
parser.add_argument('path')
parser.add_argument('--connections', type=int, default=64)
parser.add_argument('--rounds', type=int, default=7)
parser.add_argument('--seconds', type=int, default=2)
parser.add_argument('--dapple', default=os.path.join(os.path.dirname(__file__), '../../target/release/dapple'))
args = parser.parse_args()


class Server:
    def __init__(self, more, copies=1):
        self.ports, self.processes = [], []
        for _ in range(copies):
            with socket.socket() as s:
                s.bind(('127.0.0.1', 0))
                port = s.getsockname()[1]
            command = [args.dapple, 'web', args.dir, '--listen', f'127.0.0.1:{port}'] + more
            self.processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
            self.ports.append(port)
        time.sleep(0.5)

    def cpu(self):
        ticks = 0
        for process in self.processes:
            fields = open(f'/proc/{process.pid}/stat').read().rsplit(')', 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf('SC_CLK_TCK')

    def run(self):
        before = self.cpu()
        clients = [subprocess.Popen(
            ['wrk', '-t1', f'-c{args.connections // 2}', f'-d{args.seconds}s', f'http://127.0.0.1:{self.ports[n % len(self.ports)]}/{args.path}'],
            stdout=subprocess.PIPE, text=True) for n in range(2)]
        out = [client.communicate()[0] for client in clients]
        requests = sum(int(re.search(r'(\d+) requests in', one).group(1)) for one in out)
        return requests / args.seconds, requests / (self.cpu() - before)


servers = {
    'one worker': Server(['--workers', '1']),
    'two workers': Server(['--workers', '2']),
    'two, no stealing': Server(['--workers', '2', '--steal', 'off']),
    'two, --serial': Server(['--workers', '2', '--serial']),
    'two copies': Server(['--workers', '1'], copies=2),
}
try:
    runs = {name: [] for name in servers}
    for round in range(args.rounds + 1):
        for name, server in servers.items():
            run = server.run()
            if round:  # the first one warms up
                runs[name].append(run)
    print(f'{args.connections} connections, {args.rounds} rounds of {args.seconds} s, load average {os.getloadavg()[0]:.1f}')
    for name, all in runs.items():
        ratio = statistics.median(a[0] / b[0] for a, b in zip(all, runs['one worker']))
        rate, per_cpu = (statistics.median(column) for column in zip(*all))
        print(f'  {name:<18} {rate:>10.0f} req/s {per_cpu:>10.0f} req/CPU s   {ratio:.2f} x')
finally:
    for server in servers.values():
        for process in server.processes:
            process.kill()
