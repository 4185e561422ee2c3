/* Checks bufferevents and listeners with colors. Each part prints "ok". */
#include "parts.h"

#include <dapple_event.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <event2/thread.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#define SAFE BEV_OPT_THREADSAFE

static struct event_base *base;
static const struct timeval ms10 = {0, 10000};

/* Runs the loop once for events that are ready. */
static void look(void) { event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK); }
static dapple_color *color_of(const char *label) {
	dapple_color *color = dapple_color_new(base, label);
	CHECK(color);
	return color;
}
static void pair(int fds[2]) {
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	evutil_make_socket_nonblocking(fds[0]);
	evutil_make_socket_nonblocking(fds[1]);
}

/* ---- an echo server: a listener and a bufferevent per connection, each with a color */
enum { CLIENTS = 8, ROUNDS = 200, BYTES = 3000 };
struct connection { dapple_color *color; atomic_int inside; };
static atomic_int served, over, elsewhere;
static pthread_t loop_thread;
static dapple_color *door;

static void on_read(struct bufferevent *bev, void *arg) {
	struct connection *c = arg;
	CHECK(dapple_color_current() == c->color && atomic_fetch_add(&c->inside, 1) == 0);
	FAILS(bufferevent_set_color(bev, NULL), EBUSY);
	if (!pthread_equal(pthread_self(), loop_thread)) atomic_fetch_add(&elsewhere, 1);
	for (volatile int i = 0; i < 3000; i++) ;
	CHECK(!bufferevent_write_buffer(bev, bufferevent_get_input(bev)));
	atomic_fetch_add(&served, 1);
	atomic_fetch_sub(&c->inside, 1);
}
static void on_end(struct bufferevent *bev, short what, void *arg) {
	struct connection *c = arg;
	CHECK(what & BEV_EVENT_EOF && dapple_color_current() == c->color);
	bufferevent_free(bev);
	dapple_color_unref(c->color);
	free(c);
	if (atomic_fetch_add(&over, 1) == CLIENTS - 1) event_base_loopbreak(base);
}
static int options;
static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *a, int n,
	void *arg) {
	(void)l, (void)a, (void)n, (void)arg;
	CHECK(dapple_color_current() == door);
	struct connection *c = calloc(1, sizeof *c);
	c->color = color_of("connection");
	int flags = SAFE | BEV_OPT_CLOSE_ON_FREE | options;
	struct bufferevent *bev = bufferevent_socket_new(base, fd, flags);
	CHECK(!bufferevent_set_color(bev, c->color));
	bufferevent_setcb(bev, on_read, NULL, on_end, c);
	bufferevent_enable(bev, EV_READ);
}
static int port;
static void *client(void *arg) {
	static char out[BYTES];
	char in[BYTES];
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(!connect(fd, (struct sockaddr *)&at, sizeof at));
	for (int round = 0; round < ROUNDS; round++) {
		CHECK(write(fd, out, BYTES) == BYTES);
		for (ssize_t got = 0, n; got < BYTES; got += n) CHECK((n = read(fd, in, BYTES - got)) > 0);
	}
	close(fd);
	return arg;
}
static void echo_with(int more) {
	options = more;
	over = 0;
	served = 0;
	base = event_base_new();
	event_base_set_workers(base, 3);
	loop_thread = pthread_self();
	struct sockaddr_in at = {.sin_family = AF_INET};
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	struct evconnlistener *listener = evconnlistener_new_bind(base, on_accept, NULL,
		LEV_OPT_THREADSAFE | LEV_OPT_CLOSE_ON_FREE, 64, (struct sockaddr *)&at, sizeof at);
	CHECK(listener);
	door = color_of("door");
	CHECK(!evconnlistener_set_color(listener, door));
	socklen_t size = sizeof at;
	getsockname(evconnlistener_get_fd(listener), (struct sockaddr *)&at, &size);
	port = ntohs(at.sin_port);
	pthread_t threads[CLIENTS];
	for (int i = 0; i < CLIENTS; i++) pthread_create(&threads[i], NULL, client, NULL);
	CHECK(event_base_dispatch(base) >= 0);
	for (int i = 0; i < CLIENTS; i++) pthread_join(threads[i], NULL);
	CHECK(served >= CLIENTS * ROUNDS / 2);
	evconnlistener_free(listener);
	dapple_color_unref(door);
	event_base_free(base);
}
static void echo(void) { echo_with(0); CHECK(elsewhere > 0); }
static void echo_deferred(void) { echo_with(BEV_OPT_DEFER_CALLBACKS | BEV_OPT_UNLOCK_CALLBACKS); }

/* ---- a bufferevent that connects, times out, and is freed by the loop while its callback runs */
static struct { dapple_color *color; int connected, timed_out, wrote; } dials;
static struct bufferevent *dialled;
static void dial_event(struct bufferevent *bev, short what, void *arg) {
	(void)arg;
	CHECK(dapple_color_current() == dials.color);
	if (what & BEV_EVENT_CONNECTED) {
		dials.connected++;
		bufferevent_set_timeouts(bev, &ms10, NULL);
		bufferevent_enable(bev, EV_READ);
		bufferevent_write(bev, "hello", 5);
	} else {
		CHECK(what & BEV_EVENT_TIMEOUT);
		dials.timed_out++;
		event_base_loopbreak(base);
	}
}
static void dial_wrote(struct bufferevent *bev, void *arg) {
	(void)bev, (void)arg;
	CHECK(dapple_color_current() == dials.color);
	dials.wrote++;
}
static void dial(void) {
	base = event_base_new();
	dials.color = color_of("dial");
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in at = {.sin_family = AF_INET};
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	socklen_t size = sizeof at;
	CHECK(!bind(listener, (struct sockaddr *)&at, size) && !listen(listener, 4));
	getsockname(listener, (struct sockaddr *)&at, &size);
	dialled = bufferevent_socket_new(base, -1, SAFE | BEV_OPT_CLOSE_ON_FREE);
	CHECK(!bufferevent_set_color(dialled, dials.color));
	bufferevent_setcb(dialled, NULL, dial_wrote, dial_event, NULL);
	CHECK(!bufferevent_socket_connect(dialled, (struct sockaddr *)&at, sizeof at));
	CHECK(event_base_dispatch(base) >= 0);
	CHECK(dials.connected == 1 && dials.timed_out == 1 && dials.wrote == 1);
	bufferevent_free(dialled);
	dapple_color_unref(dials.color);
	CHECK(event_base_loop(base, EVLOOP_NONBLOCK) >= 0);
	event_base_free(base);
	close(listener);
}

/* ---- the loop frees many bufferevents while their callbacks run on other threads */
static struct bufferevent *busy;
static int busy_peer;
static atomic_int busy_reads;
static void busy_read(struct bufferevent *bev, void *arg) {
	(void)arg;
	atomic_fetch_add(&busy_reads, 1);
	for (volatile int i = 0; i < 300; i++) ;
	evbuffer_drain(bufferevent_get_input(bev), 100);
}
static void frees(void) {
	static const struct timeval none = {0, 0};
	static char bytes[4096];
	struct ev_token_bucket_cfg *limit = ev_token_bucket_cfg_new(100, 100, 100, 100, NULL);
	base = event_base_new();
	for (int round = 0; round < 2000; round++) {
		int fds[2];
		pair(fds);
		busy_peer = fds[1];
		int flags = SAFE | BEV_OPT_CLOSE_ON_FREE | (round % 2 ? BEV_OPT_DEFER_CALLBACKS : 0);
		busy = bufferevent_socket_new(base, fds[0], flags);
		dapple_color *color = color_of(NULL);
		CHECK(!bufferevent_set_color(busy, color));
		dapple_color_unref(color);
		if (round % 3 == 0) {
			bufferevent_set_rate_limit(busy, limit);
			bufferevent_setcb(busy, busy_read, NULL, NULL, NULL);
			bufferevent_enable(busy, EV_READ);
			CHECK(write(fds[1], bytes, sizeof bytes) > 0);
			look();
			bufferevent_free(busy);
			event_base_loopexit(base, &none);
			event_base_loop(base, 0);
		} else {
			bufferevent_setcb(busy, busy_read, NULL, NULL, NULL);
			bufferevent_enable(busy, EV_READ);
			CHECK(write(fds[1], bytes, 1 + round % sizeof bytes) > 0);
			for (int turns = round % 4; turns > 0; turns--) look();
			bufferevent_free(busy);
			if (round % 7 == 0) event_base_loop(base, EVLOOP_NONBLOCK);
		}
		close(fds[1]);
	}
	CHECK(event_base_dispatch(base) == 1);
	CHECK(busy_reads > 0);
	ev_token_bucket_cfg_free(limit);
	event_base_free(base);
}

/* ---- a pair and a filter share one color */
static dapple_color *shared;
static int pair_got;
static void pair_read(struct bufferevent *bev, void *other) {
	CHECK(dapple_color_current() == shared);
	struct evbuffer *input = bufferevent_get_input(bev);
	if (++pair_got < 20) bufferevent_write_buffer(other ? other : bev, input);
	else event_base_loopbreak(base);
}
static void pairs(void) {
	base = event_base_new();
	shared = color_of("shared");
	struct bufferevent *ends[2];
	CHECK(!bufferevent_pair_new(base, SAFE, ends));
	CHECK(!bufferevent_set_color(ends[1], shared));
	for (int i = 0; i < 2; i++) {
		bufferevent_setcb(ends[i], pair_read, NULL, NULL, NULL);
		bufferevent_enable(ends[i], EV_READ | EV_WRITE);
	}
	bufferevent_write(ends[0], "ping", 4);
	CHECK(event_base_dispatch(base) >= 0);
	CHECK(pair_got == 20);
	bufferevent_free(ends[0]);
	bufferevent_free(ends[1]);
	CHECK(event_base_loop(base, EVLOOP_NONBLOCK) >= 0);
	dapple_color_unref(shared);
	event_base_free(base);
}
/* The base is freed while both ends of each pair are about to be finalized. The end that was freed
 * first is finalized first. */
static void pairs_left(void) {
	for (int round = 0; round < 30; round++) {
		base = event_base_new();
		shared = color_of("shared");
		struct bufferevent *ends[2];
		CHECK(!bufferevent_pair_new(base, SAFE, ends));
		CHECK(!bufferevent_set_color(ends[1], shared));
		bufferevent_free(ends[0]);
		bufferevent_free(ends[1]);
		dapple_color_unref(shared);
		event_base_free(base);
	}
}
static enum bufferevent_filter_result twice(struct evbuffer *from, struct evbuffer *to,
	ev_ssize_t limit, enum bufferevent_flush_mode mode, void *arg) {
	(void)limit, (void)mode, (void)arg;
	CHECK(dapple_color_current() == shared || pthread_equal(pthread_self(), loop_thread));
	return evbuffer_add_buffer(to, from) ? BEV_ERROR : BEV_OK;
}
static void filter(void) {
	base = event_base_new();
	loop_thread = pthread_self();
	shared = color_of("filter");
	int fds[2];
	pair(fds);
	pair_got = 0;
	struct bufferevent *inner = bufferevent_socket_new(base, fds[0], SAFE | BEV_OPT_CLOSE_ON_FREE);
	struct bufferevent *outer =
		bufferevent_filter_new(inner, twice, twice, SAFE | BEV_OPT_CLOSE_ON_FREE, NULL, NULL);
	CHECK(!bufferevent_set_color(outer, shared));
	bufferevent_setcb(outer, pair_read, NULL, NULL, NULL);
	bufferevent_enable(outer, EV_READ | EV_WRITE);
	pair_got = 18;
	CHECK(write(fds[1], "a", 1) == 1);
	char byte;
	for (int i = 0; i < 200 && pair_got < 19; i++) look(), usleep(1000);
	for (int i = 0; i < 200 && read(fds[1], &byte, 1) != 1; i++) look(), usleep(1000);
	CHECK(pair_got == 19 && byte == 'a');
	bufferevent_free(outer);
	CHECK(event_base_loop(base, EVLOOP_NONBLOCK) >= 0);
	CHECK(event_base_loop(base, 0) >= 0);
	close(fds[1]);
	dapple_color_unref(shared);
	event_base_free(base);
}

/* ---- a base that is freed before the finalizer of a bufferevent ran leaks nothing */
static atomic_int may_go;
static void holds(void *arg) {
	(void)arg;
	while (!atomic_load(&may_go)) usleep(100);
}
static void *lets_go(void *arg) {
	usleep(20000);
	atomic_store(&may_go, 1);
	return arg;
}
static void forgets(struct event *ev, void *arg) {
	(void)ev;
	atomic_fetch_add((atomic_int *)arg, 1);
}
static void unfinished(void) {
	static atomic_int finalized;
	base = event_base_new();
	event_base_set_workers(base, 2);
	dapple_color *color = color_of(NULL);
	int fds[2];
	pair(fds);
	struct bufferevent *bev = bufferevent_socket_new(base, fds[0], SAFE | BEV_OPT_CLOSE_ON_FREE);
	struct event *ev = event_new(base, -1, EV_PERSIST, NULL, &finalized);
	CHECK(!bufferevent_set_color(bev, color) && !event_set_color(ev, color));
	CHECK(!dapple_post(color, holds, NULL));
	bufferevent_free(bev);
	CHECK(!event_free_finalize(0, ev, forgets));
	pthread_t thread;
	pthread_create(&thread, NULL, lets_go, NULL);
	event_base_free(base);
	pthread_join(thread, NULL);
	CHECK(finalized == 1);
	CHECK(write(fds[1], "x", 1) == -1);
	close(fds[1]);
	dapple_color_unref(color);
}

/* ---- a bufferevent gets no color in a callback of its own, deferred or not */
static int asked;
static void asks(struct bufferevent *bev, void *color) {
	FAILS(bufferevent_set_color(bev, color), EBUSY);
	evbuffer_drain(bufferevent_get_input(bev), 100);
	asked++;
	event_base_loopbreak(base);
}
static void own_callback(void) {
	for (int deferred = 0; deferred < 2; deferred++) {
		base = event_base_new();
		dapple_color *color = color_of(NULL);
		int fds[2];
		pair(fds);
		int flags = deferred ? BEV_OPT_DEFER_CALLBACKS | BEV_OPT_UNLOCK_CALLBACKS : 0;
		flags |= SAFE | BEV_OPT_CLOSE_ON_FREE;
		struct bufferevent *bev = bufferevent_socket_new(base, fds[0], flags);
		bufferevent_setcb(bev, asks, NULL, NULL, color);
		bufferevent_enable(bev, EV_READ);
		CHECK(write(fds[1], "x", 1) == 1);
		CHECK(event_base_dispatch(base) >= 0 && asked == 1 + deferred);
		CHECK(!bufferevent_set_color(bev, color));
		bufferevent_free(bev);
		close(fds[1]);
		dapple_color_unref(color);
		event_base_free(base);
	}
}

/* ---- a listener whose callback runs: its color cannot change, and no lock of it is held */
static struct evconnlistener *held_listener;
static atomic_int in_accept, most_accepts, accepts, disabled;
static struct sockaddr_in held_at;
static int ticks;
static void accepts_slowly(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *a, int n,
	void *arg) {
	(void)a, (void)n;
	CHECK(!atomic_load(&disabled));
	FAILS(evconnlistener_set_color(l, arg), EBUSY);
	evutil_closesocket(fd);
	/* The loop must find this callback running on another thread. */
	if (pthread_equal(pthread_self(), loop_thread)) return;
	int inside = atomic_fetch_add(&in_accept, 1) + 1;
	if (inside > most_accepts) atomic_store(&most_accepts, inside);
	usleep(10000);
	atomic_fetch_add(&accepts, 1);
	atomic_fetch_sub(&in_accept, 1);
}
static void disables(evutil_socket_t timer, short what, void *arg) {
	(void)timer, (void)what;
	/* If the loop's thread watches the listener, the callback mostly runs on that thread. */
	if (!atomic_load(&in_accept) && ticks++ < 50) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(fd, (struct sockaddr *)&held_at, sizeof held_at);
		close(fd);
		return;
	}
	int result = evconnlistener_set_color(held_listener, arg);
	CHECK(result == 0 || errno == EBUSY);
	CHECK(evconnlistener_disable(held_listener) == 0);
	CHECK(atomic_load(&in_accept) == 0);
	atomic_store(&disabled, 1);
	event_base_loopbreak(base);
}
static void listeners(void) {
	base = event_base_new();
	loop_thread = pthread_self();
	event_base_set_workers(base, 3);
	dapple_color *color = color_of("a"), *other = color_of("b");
	held_at = (struct sockaddr_in){.sin_family = AF_INET};
	held_at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	held_listener = evconnlistener_new_bind(base, accepts_slowly, other,
		LEV_OPT_THREADSAFE | LEV_OPT_CLOSE_ON_FREE | LEV_OPT_DISABLED, 64,
		(struct sockaddr *)&held_at, sizeof held_at);
	socklen_t size = sizeof held_at;
	getsockname(evconnlistener_get_fd(held_listener), (struct sockaddr *)&held_at, &size);
	CHECK(!evconnlistener_set_color(held_listener, color));
	CHECK(!evconnlistener_set_color(held_listener, other));
	CHECK(!evconnlistener_enable(held_listener));
	CHECK(!evconnlistener_set_color(held_listener, NULL));
	CHECK(!evconnlistener_set_color(held_listener, color));
	struct event *looks = event_new(base, -1, EV_PERSIST, disables, other);
	struct timeval often = {0, 1000};
	/* A listener that is enabled again is watched by the next worker in turn. */
	for (int round = 0; round < 9; round++) {
		atomic_store(&disabled, 0);
		ticks = 0;
		CHECK(!evconnlistener_enable(held_listener));
		CHECK(!event_add(looks, &often));
		CHECK(event_base_dispatch(base) >= 0);
		CHECK(!event_del(looks));
	}
	CHECK(most_accepts == 1 && accepts > 0);
	event_free(looks);
	evconnlistener_free(held_listener);
	dapple_color_unref(color), dapple_color_unref(other);
	event_base_free(base);
}
static void accept_and_close(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *a,
	int n, void *arg) {
	(void)l, (void)a, (void)n, (void)arg;
	evutil_closesocket(fd);
	atomic_fetch_add(&accepts, 1);
}
static void *storms(void *arg) {
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	while (!atomic_load((atomic_int *)arg)) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		struct linger none = {1, 0};
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
		connect(fd, (struct sockaddr *)&at, sizeof at);
		close(fd);
	}
	return NULL;
}
static void frees_listener(evutil_socket_t fd, short what, void *arg) {
	(void)fd, (void)what, (void)arg;
	evconnlistener_free(held_listener);
	event_base_loopexit(base, NULL);
}
static void storm(void) {
	base = event_base_new();
	dapple_color *color = color_of(NULL);
	accepts = 0;
	for (int round = 0; round < 100; round++) {
		struct sockaddr_in at = {.sin_family = AF_INET};
		at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		held_listener = evconnlistener_new_bind(base, accept_and_close, NULL,
			LEV_OPT_THREADSAFE | LEV_OPT_CLOSE_ON_FREE, 64, (struct sockaddr *)&at, sizeof at);
		CHECK(!evconnlistener_set_color(held_listener, color));
		socklen_t size = sizeof at;
		getsockname(evconnlistener_get_fd(held_listener), (struct sockaddr *)&at, &size);
		port = ntohs(at.sin_port);
		atomic_int over = 0;
		pthread_t thread;
		pthread_create(&thread, NULL, storms, &over);
		struct timeval soon = {0, 1000 + round * 37 % 3000};
		CHECK(!event_base_once(base, -1, EV_TIMEOUT, frees_listener, NULL, &soon));
		CHECK(event_base_dispatch(base) >= 0);
		atomic_store(&over, 1);
		pthread_join(thread, NULL);
	}
	CHECK(accepts > 0);
	dapple_color_unref(color);
	event_base_free(base);
}

/* ---- offloaded work that outlives its base calls nothing; a callback cannot free its base */
static atomic_int work_done, work_dropped;
static atomic_int work_begun;
static void works_long(void *arg) {
	(void)arg;
	atomic_store(&work_begun, 1);
	usleep(50000);
	atomic_store(&work_done, 1);
}
static void drops_work(void *arg) { (void)arg; atomic_store(&work_dropped, 1); }
static void never(void *arg) { (void)arg; abort(); }
static void frees_base(void *arg) { (void)arg; event_base_free(base); }
static void outlived(void) {
	base = event_base_new();
	dapple_color *color = color_of(NULL);
	CHECK(!dapple_post(color, frees_base, NULL));
	CHECK(event_base_dispatch(base) == 1);
	CHECK(!dapple_offload_from(color, works_long, never, NULL, drops_work, NULL, 0));
	while (!work_begun) usleep(100);
	event_base_free(base);
	while (!work_dropped) usleep(1000);
	CHECK(work_done == 1);
	dapple_color_unref(color);
}

/* ---- a callback that runs while its base is freed gets no color; remaining events forget it */
static atomic_int is_in, is_refused;
static void makes_colors(void *arg) {
	(void)arg;
	atomic_store(&is_in, 1);
	for (int i = 0; i < 200; i++) {
		usleep(200);
		dapple_color *color = dapple_color_new(base, NULL);
		if (!color) { CHECK(errno == ESHUTDOWN); atomic_store(&is_refused, 1); return; }
		dapple_color_unref(color);
	}
}
static void ticks_3(evutil_socket_t fd, short what, void *arg) {
	(void)fd, (void)what;
	if (++*(int *)arg == 3) event_base_loopbreak(base);
}
static void no_callback(evutil_socket_t fd, short what, void *arg) {
	(void)fd, (void)what, (void)arg;
}
static void freed_busy(void) {
	int fds[2];
	pair(fds);
	base = event_base_new();
	event_base_set_workers(base, 2);
	dapple_color *color = color_of(NULL), *other = color_of(NULL);
	struct event *added = event_new(base, fds[0], EV_READ | EV_PERSIST, no_callback, NULL);
	struct event *active = event_new(base, -1, EV_PERSIST, no_callback, NULL);
	CHECK(!event_set_color(added, color) && !event_set_color(active, other));
	CHECK(!event_add(added, NULL));
	CHECK(!dapple_post(other, makes_colors, NULL));
	while (!is_in) usleep(100);
	event_active(active, EV_READ, 1);
	event_base_free(base);
	CHECK(is_refused);
	/* The new one probably has the same address, but nothing of the old one's state. */
	base = event_base_new();
	int ticked = 0;
	struct timeval ms1 = {0, 1000};
	struct event *tick = event_new(base, -1, EV_PERSIST, ticks_3, &ticked);
	event_add(tick, &ms1);
	event_free(added);
	event_free(active);
	CHECK(event_base_dispatch(base) == 0 && ticked == 3);
	event_free(tick);
	event_base_free(base);
	dapple_color_unref(color), dapple_color_unref(other);
	close(fds[0]), close(fds[1]);
}

/* ---- a bufferevent that moves to another base loses its color */
static void moved_read(struct bufferevent *bev, void *arg) {
	(void)arg;
	CHECK(dapple_color_current() == NULL && pthread_equal(pthread_self(), loop_thread));
	evbuffer_drain(bufferevent_get_input(bev), 100);
	event_base_loopbreak(bufferevent_get_base(bev));
}
static void moved(void) {
	struct event_base *other = event_base_new();
	base = event_base_new();
	loop_thread = pthread_self();
	dapple_color *color = color_of(NULL);
	int fds[2];
	pair(fds);
	struct bufferevent *bev = bufferevent_socket_new(base, fds[0], SAFE | BEV_OPT_CLOSE_ON_FREE);
	CHECK(!bufferevent_set_color(bev, color));
	/* The output exceeds the socket's buffer, so the bufferevent waits for space. It cannot move
	 * meanwhile, and keeps waiting. */
	static char bytes[1 << 20];
	bufferevent_write(bev, bytes, sizeof bytes);
	CHECK(bufferevent_base_set(other, bev) == -1);
	size_t got = 0;
	for (int i = 0; i < 5000 && got < sizeof bytes; i++) {
		event_base_loop(base, EVLOOP_NONBLOCK);
		ssize_t n = read(fds[1], bytes, sizeof bytes);
		if (n > 0) got += n;
		else usleep(1000);
	}
	CHECK(got == sizeof bytes);
	CHECK(!bufferevent_disable(bev, EV_READ | EV_WRITE));
	/* The last callback may still run. */
	int is_set = -1;
	for (int i = 0; i < 5000 && is_set; i++) {
		is_set = bufferevent_base_set(other, bev);
		if (is_set) usleep(1000);
	}
	CHECK(!is_set);
	bufferevent_setcb(bev, moved_read, NULL, NULL, NULL);
	bufferevent_enable(bev, EV_READ);
	CHECK(write(fds[1], "x", 1) == 1);
	CHECK(event_base_dispatch(other) == 0);
	FAILS(bufferevent_set_color(bev, color), EINVAL);
	bufferevent_free(bev);
	close(fds[1]);
	dapple_color_unref(color);
	event_base_free(base);
	event_base_free(other);
}

/* ---- calls that are refused */
static void refuse(void) {
	struct event_base *other = event_base_new();
	base = event_base_new();
	dapple_color *color = color_of(NULL), *foreign = dapple_color_new(other, NULL);
	int fds[2];
	pair(fds);
	struct bufferevent *unsafe = bufferevent_socket_new(base, fds[0], 0);
	FAILS(bufferevent_set_color(unsafe, color), EINVAL);
	FAILS(bufferevent_set_color(NULL, color), EINVAL);
	struct bufferevent *bev = bufferevent_socket_new(base, fds[1], SAFE);
	FAILS(bufferevent_set_color(bev, foreign), EINVAL);
	struct ev_token_bucket_cfg *limit = ev_token_bucket_cfg_new(1000, 1000, 1000, 1000, NULL);
	struct bufferevent_rate_limit_group *group = bufferevent_rate_limit_group_new(base, limit);
	struct bufferevent_rate_limit_group *first = bufferevent_rate_limit_group_new(base, limit);
	CHECK(!bufferevent_add_to_rate_limit_group(bev, first));
	CHECK(!bufferevent_add_to_rate_limit_group(bev, group));
	bufferevent_rate_limit_group_free(first);
	FAILS(bufferevent_set_color(bev, color), EINVAL);
	CHECK(!bufferevent_remove_from_rate_limit_group(bev));
	/* It waits for space again, on its color. */
	CHECK(bufferevent_get_enabled(bev) & EV_WRITE);
	CHECK(!bufferevent_set_color(bev, color));
	CHECK(!bufferevent_set_color(bev, NULL));
	CHECK(!bufferevent_set_color(bev, color));
	CHECK(bufferevent_add_to_rate_limit_group(bev, group) == -1);
	bufferevent_free(bev);
	bufferevent_free(unsafe);
	bufferevent_rate_limit_group_free(group);
	ev_token_bucket_cfg_free(limit);
	FAILS(evconnlistener_set_color(NULL, color), EINVAL);
	CHECK(event_base_loop(base, EVLOOP_NONBLOCK) >= 0);
	dapple_color_unref(color);
	dapple_color_unref(foreign);
	event_base_free(base);
	event_base_free(other);
	close(fds[0]), close(fds[1]);
}

/* ---- dapple.h on a base: posts, timers and descriptors keep the loop running */
static atomic_int ran;
static void count(void *arg) {
	CHECK(dapple_color_current() == arg || !arg);
	atomic_fetch_add(&ran, 1);
}
static void work(void *arg) { (void)arg; usleep(20000); }
static void on_loop_thread(void *arg) {
	CHECK(pthread_equal(pthread_self(), loop_thread) && dapple_color_current() == arg);
	atomic_fetch_add(&ran, 1);
}
static dapple_watch *bytes_watch;
static void bytes(int what, void *fd) {
	char byte;
	CHECK(what & DAPPLE_READABLE && read(*(int *)fd, &byte, 1) == 1);
	atomic_fetch_add(&ran, 1);
	dapple_watch_end(bytes_watch);
}
static void begin_watch(void *fd) {
	bytes_watch = dapple_on_ready(dapple_color_current(), *(int *)fd, DAPPLE_READABLE, bytes, fd);
	CHECK(bytes_watch);
}
static void runtime(void) {
	base = event_base_new();
	dapple_runtime *rt = event_base_runtime(base);
	CHECK(rt && rt == event_base_runtime(base) && dapple_runtime_workers(rt) >= 1);
	FAILS(dapple_runtime_run(rt), EINVAL);
	FAILS(dapple_runtime_stop(rt), EINVAL);
	FAILS(dapple_runtime_turn(rt, 0), EINVAL);
	FAILS(dapple_runtime_wait_idle(rt), EINVAL);
	FAILS(dapple_runtime_free(rt, 0), EINVAL);
	dapple_color *color = color_of("base");
	dapple_color *key = dapple_color_of_key(base, "ada", 3);
	CHECK(key && key == dapple_runtime_color_of_key(rt, "ada", 3));
	dapple_color_unref(key);
	CHECK(event_base_dispatch(base) == 1);
	CHECK(!dapple_post_after(color, 20000000, count, color, NULL));
	CHECK(event_base_dispatch(base) == 1 && ran == 1);
	CHECK(!dapple_offload(color, work, count, color));
	CHECK(!dapple_post_uncolored(rt, count, NULL));
	CHECK(event_base_dispatch(base) == 1 && ran == 3);
	dapple_access two[] = {{color, 0}, {key, 1}};
	CHECK(!dapple_post_set(two, 2, count, NULL));
	CHECK(!dapple_post_shared(color, count, color));
	CHECK(event_base_dispatch(base) == 1 && ran == 5);
	dapple_timer *timer;
	CHECK(!dapple_post_after(color, UINT64_MAX, count, color, &timer));
	CHECK(event_base_loop(base, EVLOOP_NONBLOCK) == 0);
	CHECK(dapple_timer_cancel(timer) == 1);
	CHECK(event_base_dispatch(base) == 1 && ran == 5);
	int fds[2];
	pair(fds);
	CHECK(!dapple_post(color, begin_watch, &fds[0]));
	CHECK(write(fds[1], "x", 1) == 1);
	CHECK(event_base_dispatch(base) == 1 && ran == 6);
	/* The default color runs on the loop's thread. */
	loop_thread = pthread_self();
	dapple_color *own = dapple_runtime_default_color(rt);
	CHECK(own && !dapple_post(own, on_loop_thread, own));
	CHECK(!dapple_post_after(own, 1000000, on_loop_thread, own, NULL));
	CHECK(!dapple_offload(own, work, on_loop_thread, own));
	CHECK(event_base_dispatch(base) == 1 && ran == 9);
	dapple_color_unref(own);
	close(fds[0]), close(fds[1]);
	dapple_color_unref(dapple_color_ref(color));
	dapple_color_unref(key);
	event_base_free(base);
	FAILS(dapple_post(color, count, color), ESHUTDOWN);
	dapple_color_unref(color);
}

PARTS(
	{"echo", echo}, {"echo_deferred", echo_deferred}, {"dial", dial}, {"frees", frees},
	{"unfinished", unfinished}, {"pairs", pairs}, {"pairs_left", pairs_left},
	{"own_callback", own_callback},
	{"listeners", listeners}, {"storm", storm}, {"outlived", outlived}, {"moved", moved},
	{"freed_busy", freed_busy}, {"filter", filter}, {"refuse", refuse}, {"runtime", runtime}
);
int main(int argc, char **argv) {
	evthread_use_pthreads();
	signal(SIGPIPE, SIG_IGN);
	return run_part(argc, argv, parts);
}
