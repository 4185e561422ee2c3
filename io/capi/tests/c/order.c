/* Prints the order in which libevent calls a program's callbacks. On libevent and on
 * libdapple_event, each part must print the same.
 *
 * cc order.c -levent -levent_pthreads -o order; ./order PART */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/event_compat.h>
#include <event2/event_struct.h>
#include <event2/listener.h>
#include <event2/thread.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct event_base *base;
static const struct timeval ms1 = {0, 1000}, ms5 = {0, 5000}, ms20 = {0, 20000}, ms100 = {0, 100000};

static void say(const char *format, ...) {
	va_list args;
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
}

/* The names of events, which their callbacks print. */
static void note(evutil_socket_t fd, short what, void *name) {
	(void)fd;
	say("%s %#x", (const char *)name, what);
}

static struct event *timer(const char *name, const struct timeval *tv) {
	struct event *ev = event_new(base, -1, 0, note, (void *)name);
	if (tv) event_add(ev, tv);
	return ev;
}

static void pair(int fds[2]) {
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds)) exit(2);
	evutil_make_socket_nonblocking(fds[0]);
	evutil_make_socket_nonblocking(fds[1]);
}

static struct event *readable(const char *name, int fd, short more) {
	struct event *ev = event_new(base, fd, EV_READ | more, note, (void *)name);
	say("add %s: %d", name, event_add(ev, NULL));
	return ev;
}

/* ---- priorities, and first in first out within one */
static void priorities(void) {
	static char names[12][8];
	event_base_priority_init(base, 3);
	say("%d priorities", event_base_get_npriorities(base));
	for (int i = 0; i < 12; i++) {
		snprintf(names[i], 8, "%d/%d", i, (i * 2) % 3);
		struct event *ev = timer(names[i], NULL);
		say("default %d, set %d", event_get_priority(ev), event_priority_set(ev, (i * 2) % 3));
		event_active(ev, EV_TIMEOUT, 1);
	}
	say("too high %d", event_priority_set(timer("x", NULL), 3));
	say("loop %d", event_base_loop(base, 0));
}

/* ---- one pass: descriptors and signals, then timers */
static struct event *signal_event;
static void pass(void) {
	int a[2], b[2];
	pair(a), pair(b);
	readable("a", a[0], 0), readable("b", b[0], 0);
	signal_event = evsignal_new(base, SIGUSR1, note, "signal");
	event_add(signal_event, NULL);
	timer("timer 1", &ms1), timer("timer 5", &ms5), timer("timer 1 again", &ms1);
	if (write(b[1], "x", 1) != 1 || write(a[1], "x", 1) != 1) exit(2);
	kill(getpid(), SIGUSR1);
	usleep(10000);
	say("loop %d", event_base_loop(base, EVLOOP_ONCE));
	event_del(signal_event);
	say("loop %d", event_base_loop(base, 0));
}

/* ---- several events of one descriptor; timers that are due at the same time */
static void together(void) {
	static char names[30][8];
	int a[2];
	pair(a);
	for (int i = 0; i < 9; i++) {
		snprintf(names[i], 8, "r%d", i);
		struct event *ev = event_new(base, a[0], (i % 3 ? EV_READ : EV_READ | EV_WRITE), note, names[i]);
		event_add(ev, NULL);
	}
	for (int i = 10; i < 30; i++) {
		snprintf(names[i], 8, "t%d", i);
		timer(names[i], i % 4 ? &ms1 : &ms5);
	}
	if (write(a[1], "x", 1) != 1) exit(2);
	usleep(20000);
	say("loop %d", event_base_loop(base, 0));
}

/* ---- events that a callback activates or adds join the pass */
static struct event *joined[4];
static void join_cb(evutil_socket_t fd, short what, void *arg) {
	static const struct timeval now = {0, 0};
	note(fd, what, arg);
	if (!joined[0]) {
		joined[0] = timer("same", NULL), joined[1] = timer("higher", NULL), joined[2] = timer("lower", NULL);
		event_priority_set(joined[1], 0), event_priority_set(joined[2], 2);
		for (int i = 0; i < 3; i++) event_active(joined[i], EV_READ, 1);
		joined[3] = timer("added for now", &now);
		event_active(joined[0], EV_WRITE, 1);
	}
}
static void joins(void) {
	event_base_priority_init(base, 3);
	for (int i = 0; i < 3; i++) {
		static const char *names[] = {"first", "second", "third"};
		event_active(event_new(base, -1, 0, join_cb, (void *)names[i]), EV_TIMEOUT, 1);
	}
	struct event *low = timer("low", NULL);
	event_priority_set(low, 2);
	event_active(low, EV_TIMEOUT, 1);
	for (int i = 0; i < 6; i++) say("once %d", event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK));
}

/* ---- persistent events with a timeout */
static int rounds;
static int peer;
static void persist_cb(evutil_socket_t fd, short what, void *arg) {
	char buf[8];
	note(fd, what, "persistent");
	if (what & EV_READ && read(fd, buf, 8) < 0) exit(2);
	if (++rounds == 2 && write(peer, "x", 1) != 1) exit(2);
	if (rounds == 5) say("del %d", event_del(arg));
}
static void persistent(void) {
	int a[2];
	pair(a);
	peer = a[1];
	struct event *ev = event_new(base, a[0], EV_READ | EV_PERSIST, persist_cb, event_self_cbarg());
	event_add(ev, &ms5);
	say("pending %#x", event_pending(ev, EV_READ | EV_TIMEOUT | EV_WRITE, NULL));
	say("loop %d", event_base_loop(base, 0));
	say("pending %#x", event_pending(ev, EV_READ | EV_TIMEOUT, NULL));
	event_add(ev, &ms5), event_remove_timer(ev);
	say("pending %#x", event_pending(ev, EV_READ | EV_TIMEOUT, NULL));
}

/* ---- edges; a peer that closes */
static void edges(void) {
	int a[2], b[2];
	char buf[8];
	pair(a), pair(b);
	if (write(a[1], "xy", 2) != 2) exit(2);
	struct event *ev = readable("edge", a[0], EV_ET | EV_PERSIST);
	for (int i = 0; i < 3; i++) say("once %d", event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK));
	if (read(a[0], buf, 1) != 1) exit(2);
	say("once %d", event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK));
	if (write(a[1], "z", 1) != 1) exit(2);
	say("once %d", event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK));
	struct event *level = event_new(base, a[0], EV_READ, note, "level");
	say("mixed %d", event_add(level, NULL));
	event_del(level);
	event_del(ev);
	struct event *closed = event_new(base, b[0], EV_CLOSED | EV_PERSIST, note, "closed");
	event_add(closed, NULL);
	if (write(b[1], "z", 1) != 1) exit(2);
	say("once %d", event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK));
	close(b[1]);
	say("once %d", event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK));
	event_del(closed);
	say("loop %d", event_base_loop(base, 0));
}

/* ---- finalizers */
static void finalizer(struct event *ev, void *arg) {
	(void)ev;
	say("finalize %s", (const char *)arg);
}
static void finalize_own(evutil_socket_t fd, short what, void *arg) {
	note(fd, what, "finalizes itself");
	event_free_finalize(0, arg, finalizer);
}
static void finalize(void) {
	struct event *a = timer("never", &ms1), *b = timer("nor this", NULL);
	event_active(b, EV_READ, 1);
	say("%d %d", event_finalize(0, a, finalizer), event_free_finalize(0, b, finalizer));
	say("add %d", event_add(a, &ms1));
	struct event *c = event_new(base, -1, EV_FINALIZE, finalize_own, event_self_cbarg());
	event_add(c, &ms1);
	say("loop %d", event_base_loop(base, 0));
	event_free(a);
	struct event *d = timer("d", &ms20);
	event_free_finalize(0, d, finalizer);
	say("free");
	event_base_free(base);
	base = NULL;
}

/* ---- ways to end a loop */
static void breaks(evutil_socket_t fd, short what, void *arg) {
	note(fd, what, arg);
	if (!strcmp(arg, "break")) event_base_loopbreak(base);
	if (!strcmp(arg, "exit")) event_base_loopexit(base, NULL);
	if (!strcmp(arg, "continue")) event_base_loopcontinue(base);
	if (!strcmp(arg, "nested")) say("nested %d", event_base_loop(base, EVLOOP_NONBLOCK));
}
static void ends(void) {
	static const char *names[] = {"break", "exit", "continue", "nested"};
	say("empty %d", event_base_loop(base, 0));
	say("empty, nonblocking %d", event_base_loop(base, EVLOOP_NONBLOCK));
	for (int i = 0; i < 4; i++) {
		event_active(event_new(base, -1, 0, breaks, (void *)names[i]), EV_TIMEOUT, 1);
		event_active(timer("behind", NULL), EV_TIMEOUT, 1);
		timer("later", &ms1);
		say("%s: %d break %d exit %d", names[i], event_base_loop(base, 0), event_base_got_break(base),
			event_base_got_exit(base));
		say("rest: %d break %d exit %d", event_base_loop(base, 0), event_base_got_break(base), event_base_got_exit(base));
	}
	event_base_loopexit(base, &ms5);
	timer("before the exit", &ms1), timer("after the exit", &ms20);
	say("loop %d exit %d", event_base_loop(base, EVLOOP_NO_EXIT_ON_EMPTY), event_base_got_exit(base));
	say("loop %d", event_base_loop(base, 0));
	event_base_loopbreak(base);
	timer("after a break from outside", &ms1);
	say("loop %d", event_base_loop(base, 0));
	event_base_once(base, -1, EV_TIMEOUT, note, "once", NULL);
	event_base_once(base, -1, EV_TIMEOUT, note, "once later", &ms1);
	say("refused %d", event_base_once(base, -1, EV_TIMEOUT | EV_PERSIST, note, "never", &ms1));
	say("loop %d", event_base_loop(base, EVLOOP_ONCE));
	say("loop %d", event_base_loop(base, 0));
}

/* ---- deleting and freeing in callbacks */
static struct event *others[3];
static void deletes(evutil_socket_t fd, short what, void *arg) {
	note(fd, what, "deletes");
	for (int i = 0; i < 3; i++) say("del %d", event_del(others[i]));
	say("own %d", event_del(arg));
	say("add %d", event_add(arg, NULL));
	say("own %d %d", event_del_block(arg), event_del_noblock(arg));
	event_free(arg);
}
static void deleting(void) {
	int a[2];
	pair(a);
	event_active(event_new(base, a[1], EV_WRITE | EV_PERSIST, deletes, event_self_cbarg()), EV_WRITE, 1);
	others[0] = timer("not this", &ms1), others[1] = timer("nor this", NULL);
	others[2] = event_new(base, a[0], EV_READ, note, "nor that");
	event_add(others[2], NULL);
	event_active(others[1], EV_TIMEOUT, 1);
	say("loop %d", event_base_loop(base, 0));
	struct event zero;
	memset(&zero, 0, sizeof zero);
	say("not assigned: %d initialized %d", event_del(&zero), event_initialized(&zero));
}

/* ---- files: with poll, as epoll refuses them */
static void files(void) {
	char name[] = "/tmp/orderXXXXXX";
	int fd = mkstemp(name);
	unlink(name);
	say("method %s", event_base_get_method(base));
	errno = 0;
	int added = event_add(event_new(base, fd, EV_READ | EV_WRITE, note, "file"), NULL);
	say("add %d", added);
	if (added < 0) say("errno %d", errno);
	say("loop %d", event_base_loop(base, EVLOOP_NONBLOCK));
	int null = open("/dev/null", O_RDONLY);
	say("add %d", event_add(event_new(base, null, EV_READ, note, "null"), NULL));
	say("loop %d", event_base_loop(base, EVLOOP_NONBLOCK));
}

/* ---- forks */
static void forks(void) {
	int a[2], status;
	pair(a);
	struct event *ev = readable("read", a[0], EV_PERSIST);
	struct event *sig = evsignal_new(base, SIGUSR2, note, "usr2");
	event_add(sig, NULL);
	pid_t pid = fork();
	if (!pid) {
		say("reinit %d", event_reinit(base));
		event_del(ev);
		kill(getpid(), SIGUSR2);
		say("child %d", event_base_loop(base, EVLOOP_ONCE));
		exit(0);
	}
	waitpid(pid, &status, 0);
	say("child ended %d", status);
	/* An event that the child deleted is still watched by the parent. */
	if (write(a[1], "x", 1) != 1) exit(2);
	say("parent %d", event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK));
	kill(getpid(), SIGUSR2);
	say("parent %d", event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK));
}

/* ---- signals, and the restored handlers */
static void own_handler(int number) {
	(void)number;
	if (write(1, "own handler\n", 12) != 12) exit(2);
}
static void twice(evutil_socket_t fd, short what, void *arg) {
	note(fd, what, "signal");
	if (++rounds == 2) event_del(*(struct event **)arg);
}
static void signals(void) {
	static struct event *ev, *more;
	signal(SIGUSR1, own_handler);
	ev = evsignal_new(base, SIGUSR1, twice, &ev);
	more = evsignal_new(base, SIGUSR1, note, "another of it");
	say("add %d %d", event_add(ev, NULL), event_add(more, NULL));
	sigset_t block;
	for (int i = 0; i < 3; i++) raise(SIGUSR1);
	event_base_loop(base, EVLOOP_NONBLOCK);
	event_base_loop(base, EVLOOP_NONBLOCK);
	say("pending %#x %#x", event_pending(ev, EV_SIGNAL, NULL), event_pending(more, EV_SIGNAL, NULL));
	event_del(more);
	raise(SIGUSR1);
	(void)block;
	say("refused %d", event_assign(more, base, SIGUSR1, EV_SIGNAL | EV_READ, note, "x"));
	event_active(ev, EV_SIGNAL, 3);
	say("loop %d", event_base_loop(base, 0));
}

/* ---- several bases, nested */
static void other_base(evutil_socket_t fd, short what, void *arg) {
	struct event_base *own = event_base_new();
	note(fd, what, arg);
	event_base_once(own, -1, EV_TIMEOUT, note, "in another base", &ms1);
	say("inner %d", event_base_loop(own, 0));
	event_base_free(own);
}
static void bases(void) {
	event_base_once(base, -1, EV_TIMEOUT, other_base, "outer", &ms1);
	event_base_once(base, -1, EV_TIMEOUT, note, "outer again", &ms20);
	say("outer %d", event_base_loop(base, 0));
	struct event_base *current = event_init();
	struct event ev;
	event_set(&ev, -1, 0, note, "current");
	say("base %d", event_get_base(&ev) == current);
	event_add(&ev, &ms1);
	say("set %d", event_base_set(base, &ev));
	say("dispatch %d", event_dispatch());
	say("set %d", event_base_set(base, &ev));
	event_base_free(current);
}

/* ---- the time, and common timeouts */
static void clock_cb(evutil_socket_t fd, short what, void *arg) {
	struct timeval a, b, c;
	(void)fd, (void)what, (void)arg;
	event_base_gettimeofday_cached(base, &a);
	usleep(20000);
	event_base_gettimeofday_cached(base, &b);
	event_base_update_cache_time(base);
	event_base_gettimeofday_cached(base, &c);
	say("kept %d, moves %d", !evutil_timercmp(&a, &b, !=), evutil_timercmp(&b, &c, <));
}
static void times(void) {
	static char names[20][8];
	event_base_once(base, -1, EV_TIMEOUT, clock_cb, NULL, NULL);
	event_base_loop(base, 0);
	const struct timeval *common = event_base_init_common_timeout(base, &ms5);
	say("same %d", common == event_base_init_common_timeout(base, &ms5));
	for (int i = 0; i < 20; i++) {
		snprintf(names[i], 8, "c%d", i);
		struct event *ev = timer(names[i], i % 3 ? common : &ms20);
		if (i % 5 == 1) event_del(ev);
		if (i % 7 == 1) event_add(ev, common);
	}
	say("loop %d", event_base_loop(base, 0));
	struct event *ev = event_new(base, -1, EV_PERSIST, persist_cb, event_self_cbarg());
	peer = dup(1), rounds = 2;
	event_add(ev, common);
	say("loop %d", event_base_loop(base, 0));
}

/* ---- counts */
static int each(const struct event_base *b, const struct event *ev, void *arg) {
	(void)b;
	*(int *)arg += event_get_events(ev);
	return 0;
}
static void counts(void) {
	int a[2], sum = 0;
	pair(a);
	readable("a", a[0], EV_PERSIST), timer("t", &ms100);
	struct event *both = event_new(base, a[1], EV_READ, note, "both");
	event_add(both, &ms100);
	event_active(timer("active", NULL), EV_READ, 1);
	for (int what = 1; what < 8; what++)
		say("%d: %d %d", what, event_base_get_num_events(base, what), event_base_get_max_events(base, what, 0));
	say("each %d sum %d", event_base_foreach_event(base, each, &sum), sum);
	event_base_active_by_fd(base, a[0], EV_READ);
	say("loop %d", event_base_loop(base, EVLOOP_NONBLOCK));
	say("features %#x size %zu", event_base_get_features(base), event_get_struct_event_size());
}

/* ---- misuse that libevent tolerates; calls from callbacks */
static int asks(const struct event_base *b, const struct event *ev, void *arg) {
	(void)b;
	*(int *)arg += event_pending(ev, EV_READ | EV_TIMEOUT, NULL);
	*(int *)arg += event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED);
	return 0;
}
static void handler(int number) {
	(void)number;
	event_base_loopbreak(base);
}
static void interrupted(evutil_socket_t fd, short what, void *arg) {
	note(fd, what, arg);
	raise(SIGUSR2);
}
static void forgiven(void) {
	int sum = 0;
	struct timeval tv = {-1, -1};
	struct event *ev = timer("not fired", &ms100), *late = timer("freed late", NULL);
	say("each %d %d", event_base_foreach_event(base, asks, &sum), sum);
	say("monotonic %d %d", event_gettime_monotonic(base, &tv), tv.tv_sec > 0 && tv.tv_usec >= 0);
	say("no base %d %d", event_base_once(NULL, -1, EV_TIMEOUT, note, "x", NULL),
		event_base_loopexit(NULL, NULL));
	signal(SIGUSR2, handler);
	event_active(event_new(base, -1, 0, interrupted, "a handler breaks"), EV_READ, 1);
	event_active(timer("behind", NULL), EV_READ, 1);
	say("loop %d break %d", event_base_loop(base, 0), event_base_got_break(base));
	event_del(ev), event_debug_unassign(ev);
	say("initialized %d", event_initialized(ev));
	event_base_free(base);
	event_free(late);
	say("freed");
	base = NULL;
}

/* ---- upper layers: pairs of bufferevents, a listener, deferred callbacks */
static void got(struct bufferevent *bev, void *name) {
	char line[64];
	int n = bufferevent_read(bev, line, sizeof line - 1);
	line[n > 0 ? n : 0] = 0;
	say("%s got %s", (char *)name, line);
	if (++rounds < 6) bufferevent_write(bev, line, n);
}
static void happened(struct bufferevent *bev, short what, void *name) {
	say("%s event %#x", (char *)name, what);
	if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR | BEV_EVENT_TIMEOUT)) bufferevent_free(bev);
}
static void accepted(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int len, void *arg) {
	(void)sa, (void)len, (void)arg;
	struct bufferevent *bev = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
	bufferevent_setcb(bev, got, NULL, happened, "server");
	bufferevent_enable(bev, EV_READ | EV_WRITE);
	say("accepted");
	evconnlistener_free(l);
}
static void upper(void) {
	struct bufferevent *both[2];
	bufferevent_pair_new(base, BEV_OPT_DEFER_CALLBACKS, both);
	bufferevent_setcb(both[0], got, NULL, happened, "left"), bufferevent_setcb(both[1], got, NULL, happened, "right");
	bufferevent_enable(both[0], EV_READ), bufferevent_enable(both[1], EV_READ);
	bufferevent_write(both[0], "ping", 4);
	say("loop %d", event_base_loop(base, EVLOOP_NONBLOCK));
	for (int i = 0; i < 12; i++) event_base_loop(base, EVLOOP_NONBLOCK);
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct evconnlistener *l = evconnlistener_new_bind(base, accepted, NULL, LEV_OPT_CLOSE_ON_FREE, 8,
		(struct sockaddr *)&sin, sizeof sin);
	socklen_t len = sizeof sin;
	getsockname(evconnlistener_get_fd(l), (struct sockaddr *)&sin, &len);
	struct bufferevent *client = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
	rounds = 0;
	bufferevent_setcb(client, got, NULL, happened, "client");
	bufferevent_enable(client, EV_READ | EV_WRITE);
	bufferevent_set_timeouts(client, &ms20, NULL);
	bufferevent_socket_connect(client, (struct sockaddr *)&sin, sizeof sin);
	bufferevent_write(client, "hello", 5);
	say("loop %d", event_base_loop(base, 0));
}

/* ---- other threads */
static void *other_thread(void *ev) {
	usleep(10000);
	event_active(ev, EV_READ, 1);
	usleep(10000);
	event_base_once(base, -1, EV_TIMEOUT, note, "added by a thread", &ms1);
	usleep(20000);
	event_base_loopexit(base, NULL);
	return NULL;
}
static void slow(evutil_socket_t fd, short what, void *arg) {
	note(fd, what, "slow");
	usleep(30000);
	*(int *)arg = 1;
	say("slow has ended");
}
static void *deleter(void *ev) {
	usleep(10000);
	event_del(ev);
	say("deleted");
	return NULL;
}
static void threads(void) {
	pthread_t thread;
	evthread_use_pthreads();
	event_base_free(base);
	base = event_base_new();
	struct event *ev = timer("activated by a thread", NULL);
	pthread_create(&thread, NULL, other_thread, ev);
	say("loop %d", event_base_loop(base, EVLOOP_NO_EXIT_ON_EMPTY));
	pthread_join(thread, NULL);
	int done = 0;
	ev = event_new(base, -1, EV_PERSIST, slow, &done);
	event_active(ev, EV_READ, 1);
	pthread_create(&thread, NULL, deleter, ev);
	say("loop %d", event_base_loop(base, 0));
	pthread_join(thread, NULL);
}

int main(int argc, char **argv) {
	static const struct { const char *name; void (*run)(void); } parts[] = {
		{"priorities", priorities}, {"pass", pass}, {"together", together}, {"joins", joins},
		{"persistent", persistent}, {"edges", edges}, {"finalize", finalize}, {"ends", ends},
		{"deleting", deleting}, {"files", files}, {"forks", forks}, {"signals", signals},
		{"bases", bases}, {"times", times}, {"counts", counts}, {"forgiven", forgiven},
		{"upper", upper}, {"threads", threads},
	};
	if (argc > 2 && !strcmp(argv[2], "debug")) event_enable_debug_mode();
	base = event_base_new();
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		if (argc < 2) puts(parts[i].name);
		else if (!strcmp(argv[1], parts[i].name)) parts[i].run();
	}
	if (base) event_base_free(base);
	return 0;
}
