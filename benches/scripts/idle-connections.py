#!/usr/bin/env python3
"""Measures ten thousand idle keep-alive connections on dapple web.

    benches/scripts/idle-connections.py [CONNECTIONS]

Prints the memory per connection, the CPU time while nothing happens, and the latency of a client
that is served meanwhile. Needs Linux and a release build. Raises its own limit of descriptors."""
import http.client, os, re, resource, socket, statistics, subprocess, sys, time

count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
if hard < count + 100:
    sys.exit(f'the limit of descriptors, {hard}, is too low for {count} connections')
binary = os.path.join(os.path.dirname(__file__), '../../target/release/dapple')
server = subprocess.Popen([binary, 'web', '--listen', '127.0.0.1:0', '--idle-timeout', '600'], stdout=subprocess.PIPE, text=True)
try:
    host, port = re.search(r'http://([\d.]+):(\d+)/', server.stdout.readline()).groups()

    def resident():
        return int(re.search(r'VmRSS:\s+(\d+)', open(f'/proc/{server.pid}/status').read()).group(1)) * 1024

    def ticks():
        fields = open(f'/proc/{server.pid}/stat').read().rsplit(')', 1)[1].split()
        return int(fields[11]) + int(fields[12])

    request = b'GET /style.css HTTP/1.1\r\nHost: x\r\n\r\n'

    def connect(i):
        s = socket.socket()
        # There are several source addresses, because a pair of addresses has only 28,000 ports.
        s.bind((f'127.0.0.{2 + i // 5000}', 0))
        s.connect((host, int(port)))
        s.sendall(request)
        assert s.recv(65536).startswith(b'HTTP/1.1 200')
        return s

    warm = [connect(i) for i in range(100)]
    before = resident()
    held = [connect(i) for i in range(count)]
    print(f'{count} idle connections: {(resident() - before) / count:.0f} bytes each')
    time.sleep(1)
    start = ticks()
    time.sleep(5)
    print(f'CPU time in 5 idle seconds: {(ticks() - start) * 1000 // os.sysconf("SC_CLK_TCK")} ms')
    client = http.client.HTTPConnection(host, int(port))
    took = []
    for _ in range(2000):
        t = time.perf_counter()
        client.request('GET', '/')
        assert client.getresponse().read().startswith(b'<!doctype html>')
        took.append((time.perf_counter() - t) * 1e6)
    print(f'latency of one more client: median {statistics.median(took):.0f} us, 99th percentile {sorted(took)[1980]:.0f} us')
    for s in held[:: max(1, count // 200)]:
        s.sendall(request)
        assert s.recv(65536).startswith(b'HTTP/1.1 200'), 'an idle connection is still served'
    print('the idle connections are served afterwards')
finally:
    server.kill()
