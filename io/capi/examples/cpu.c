/* A typical libevent program: one base, a persistent read event per connection, and some work per
 * request. It answers each PING of the Redis protocol after WORK rounds of arithmetic; WORK is an
 * environment variable. With "-c" each connection has a color, if the library supports colors. Only
 * those lines go beyond libevent.
 *
 *     cc -O2 -I io/capi/include io/capi/examples/cpu.c -levent_core -o cpu
 *     LD_PRELOAD=target/release/libdapple_event.so WORK=50000 ./cpu 7000 -c
 *     redis-benchmark -p 7000 -c 16 -n 100000 -t ping_mbulk */
#define DAPPLE_OPTIONAL
#include <dapple_event.h>

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int colored, rounds = 60000;
static struct event_base *base;

static uint64_t work(uint64_t x) {
	for (int i = 0; i < rounds; i++)
		x = (x ^ i) * 0x100000001b3ull, x = x << 5 | x >> 59;
	return x;
}

static void on_read(evutil_socket_t fd, short what, void *self) {
	char in[4096], out[1024];
	size_t len = 0;
	ssize_t n = read(fd, in, sizeof in);
	(void)what;
	if (n <= 0) {
		event_free(self);
		close(fd);
		return;
	}
	for (ssize_t i = 0; i < n; i++)
		if (in[i] == '*' && len + 8 < sizeof out) {
			volatile uint64_t result = work(i);
			(void)result;
			memcpy(out + len, "+PONG\r\n", 7);
			len += 7;
		}
	if (len && write(fd, out, len) < 0)
		perror("write");
}

static void on_accept(evutil_socket_t listener, short what, void *arg) {
	int fd = accept(listener, NULL, NULL), one = 1;
	(void)what, (void)arg;
	if (fd < 0)
		return;
	evutil_make_socket_nonblocking(fd);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	struct event *connection = event_new(base, fd, EV_READ | EV_PERSIST, on_read, event_self_cbarg());
	if (colored && event_set_color) {
		dapple_color *color = dapple_color_new(base, "connection");
		event_set_color(connection, color);
		dapple_color_unref(color);
	}
	event_add(connection, NULL);
}

static void on_term(evutil_socket_t number, short what, void *arg) {
	(void)number, (void)what, (void)arg;
	event_base_loopbreak(base);
}

int main(int argc, char **argv) {
	if (argc < 2) {
		fprintf(stderr, "usage: %s port [-c]\n", *argv);
		return 2;
	}
	if (getenv("WORK"))
		rounds = atoi(getenv("WORK"));
	colored = argc > 2;
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 128)) {
		perror("bind");
		return 1;
	}
	evutil_make_socket_nonblocking(fd);
	base = event_base_new();
	event_add(event_new(base, fd, EV_READ | EV_PERSIST, on_accept, NULL), NULL);
	event_add(evsignal_new(base, SIGTERM, on_term, NULL), NULL);
	event_base_dispatch(base);
	if (event_base_metrics && getenv("FIGURES")) {
		char *figures = event_base_metrics(base);
		fputs(figures ? figures : "no workers\n", stderr);
		free(figures);
	}
	event_base_free(base);
	return 0;
}
