/* Checks events with colors. Each part prints "ok". */
#include "parts.h"

#include <dapple_event.h>

#include <event2/event_struct.h>
#include <event2/thread.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>


static struct event_base *base;
static const struct timeval ms1 = {0, 1000}, ms10 = {0, 10000};

static void pair(int fds[2]) {
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	evutil_make_socket_nonblocking(fds[0]);
	evutil_make_socket_nonblocking(fds[1]);
}

/* ---- callbacks of one color never overlap; those of different colors do */
#define COLORS 4
#define EACH 3
static struct channel {
	dapple_color *color;
	struct event *ev[EACH];
	int fds[EACH][2];
	atomic_int inside;
	int got;
} channels[COLORS];
static atomic_int inside_all, most, left;
static pthread_t loop_thread;
static atomic_int elsewhere;

static void echo(evutil_socket_t fd, short what, void *arg) {
	struct channel *c = arg;
	char byte;
	CHECK(what == EV_READ);
	CHECK(dapple_color_current() == c->color);
	CHECK(atomic_fetch_add(&c->inside, 1) == 0);
	int now = atomic_fetch_add(&inside_all, 1) + 1, seen = atomic_load(&most);
	while (now > seen && !atomic_compare_exchange_weak(&most, &seen, now)) ;
	if (!pthread_equal(pthread_self(), loop_thread)) atomic_fetch_add(&elsewhere, 1);
	for (volatile int i = 0; i < 20000; i++) ;
	CHECK(read(fd, &byte, 1) == 1);
	c->got++;
	atomic_fetch_sub(&inside_all, 1);
	atomic_fetch_sub(&c->inside, 1);
	if (atomic_fetch_sub(&left, 1) == 1) event_base_loopbreak(base);
}
static void parallel(void) {
	enum { MESSAGES = 200 };
	loop_thread = pthread_self();
	left = COLORS * EACH * MESSAGES;
	for (int c = 0; c < COLORS; c++) {
		channels[c].color = dapple_color_new(base, "channel");
		CHECK(channels[c].color);
		for (int e = 0; e < EACH; e++) {
			pair(channels[c].fds[e]);
			struct event *ev = event_new(base, channels[c].fds[e][0], EV_READ | EV_PERSIST, echo, &channels[c]);
			CHECK(!event_set_color(ev, channels[c].color));
			CHECK(!event_add(ev, NULL));
			CHECK(event_set_color(ev, NULL) == -1);
			CHECK(event_pending(ev, EV_READ, NULL) == EV_READ);
			channels[c].ev[e] = ev;
			char many[MESSAGES];
			memset(many, 'x', sizeof many);
			CHECK(write(channels[c].fds[e][1], many, sizeof many) == sizeof many);
		}
	}
	CHECK(event_base_loop(base, 0) == 0);
	CHECK(most > 1 && elsewhere > 0);
	for (int c = 0; c < COLORS; c++) {
		CHECK(channels[c].got == EACH * MESSAGES);
		for (int e = 0; e < EACH; e++) event_free(channels[c].ev[e]);
		dapple_color_unref(channels[c].color);
	}
}

/* ---- the loop ends when nothing is left, on whichever thread the last callback ran */
static int steps;
static void step(void *color) {
	CHECK(dapple_color_current() == color);
	if (++steps < 100) CHECK(!dapple_post(color, step, color));
}
static void once(evutil_socket_t fd, short what, void *arg) {
	(void)fd, (void)what;
	usleep(2000);
	++*(int *)arg;
}
static void ends(void) {
	dapple_color *color = dapple_color_new(base, NULL), *other = dapple_color_new(base, "other");
	CHECK(!dapple_post(color, step, color));
	CHECK(event_base_loop(base, 0) == 1);
	CHECK(steps == 100);
	int fired = 0;
	struct event *timer = event_new(base, -1, 0, once, &fired);
	CHECK(!event_set_color(timer, other));
	CHECK(!event_add(timer, &ms1));
	CHECK(event_base_loop(base, 0) == 1 && fired == 1);
	event_active(timer, EV_READ, 1);
	CHECK(event_base_loop(base, 0) == 1 && fired == 2);
	CHECK(dapple_post(NULL, step, NULL) == -1 && dapple_post(color, NULL, NULL) == -1);
	CHECK(!dapple_color_current() && !dapple_color_ref(NULL));
	dapple_color_unref(NULL);
	event_free(timer);
	dapple_color_unref(color), dapple_color_unref(other);
}

/* ---- deletion waits for the callback; a deleted event does not fire */
static atomic_int in_slow, slow_done;
static void slow(evutil_socket_t fd, short what, void *arg) {
	(void)fd, (void)what, (void)arg;
	atomic_store(&in_slow, 1);
	usleep(20000);
	atomic_store(&slow_done, 1);
}
static void deleter(evutil_socket_t fd, short what, void *arg) {
	(void)fd, (void)what;
	if (!atomic_load(&in_slow)) {
		event_base_once(base, -1, EV_TIMEOUT, deleter, arg, &ms1);
		return;
	}
	CHECK(!event_del(arg));
	CHECK(atomic_load(&slow_done));
}
static void own(evutil_socket_t fd, short what, void *self) {
	(void)fd, (void)what;
	CHECK(!event_del(self) && !event_del_block(self));
	event_free(self);
	steps++;
}
static void never(evutil_socket_t fd, short what, void *arg) {
	(void)fd, (void)what, (void)arg;
	CHECK(!"a deleted event has fired");
}
/* Keeps a color busy, so that nothing else of it runs. */
static atomic_int is_held, release_it;
static void hold(void *arg) {
	(void)arg;
	atomic_fetch_add(&is_held, 1);
	while (!atomic_load(&release_it)) sched_yield();
}
static void deletes(void) {
	dapple_color *color = dapple_color_new(base, "slow"), *other = dapple_color_new(base, "other");
	struct event *ev = event_new(base, -1, EV_PERSIST, slow, NULL);
	CHECK(!event_set_color(ev, color));
	CHECK(!event_add(ev, &ms1));
	event_base_once(base, -1, EV_TIMEOUT, deleter, ev, &ms1);
	CHECK(event_base_loop(base, 0) == 1);
	CHECK(slow_done);
	event_free(ev);
	steps = 0;
	for (int i = 0; i < 50; i++) {
		int a[2];
		pair(a);
		struct event *self = event_new(base, a[1], EV_WRITE | EV_PERSIST, own, event_self_cbarg());
		event_set_color(self, i % 2 ? color : other);
		event_add(self, NULL);
	}
	CHECK(event_base_loop(base, 0) == 1);
	CHECK(steps == 50);
	CHECK(!dapple_post(color, hold, NULL));
	while (!atomic_load(&is_held)) usleep(1000);
	struct event *kept[50] = {NULL};
	for (int i = 0; i < 50; i++) {
		int a[2];
		pair(a);
		struct event *gone = event_new(base, a[0], EV_READ | EV_WRITE, never, NULL);
		CHECK(!event_set_color(gone, color));
		CHECK(!event_add(gone, &ms1));
		event_active(gone, EV_READ, 1);
		usleep(i % 5 ? 0 : 2000);
		CHECK(!event_del(gone) && !event_pending(gone, EV_READ | EV_TIMEOUT, NULL));
		if (i % 2) event_free(gone);
		else kept[i] = gone;
	}
	atomic_store(&release_it, 1);
	CHECK(event_base_loop(base, 0) == 1);
	for (int i = 0; i < 50; i++) if (kept[i]) event_free(kept[i]);
	dapple_color_unref(color), dapple_color_unref(other);
}

/* ---- timeouts, edges, peers that close, signals, finalizers */
static int whats[16], told;
static void record(evutil_socket_t fd, short what, void *arg) {
	char byte;
	if (arg && what & EV_READ) CHECK(read(fd, &byte, 1) >= 0);
	CHECK(told < 16);
	whats[told++] = what;
	if (told >= 3 && what & (EV_TIMEOUT | EV_SIGNAL)) event_base_loopbreak(base);
}
static void finalizer(struct event *ev, void *color) {
	(void)ev;
	CHECK(dapple_color_current() == color);
	whats[told++] = EV_FINALIZE;
}
static void kinds(void) {
	int a[2];
	dapple_color *color = dapple_color_new(base, "kinds");
	pair(a);
	struct event *ev = event_new(base, a[0], EV_READ | EV_PERSIST, record, color);
	event_set_color(ev, color);
	CHECK(write(a[1], "x", 1) == 1);
	event_add(ev, &ms10);
	CHECK(event_base_loop(base, 0) == 0);
	CHECK(told == 3 && whats[0] == EV_READ && whats[1] == EV_TIMEOUT && whats[2] == EV_TIMEOUT);
	event_free(ev);
	told = 0;
	ev = event_new(base, a[0], EV_CLOSED | EV_PERSIST, record, NULL);
	event_set_color(ev, color);
	event_add(ev, NULL);
	CHECK(write(a[1], "y", 1) == 1);
	event_base_once(base, -1, EV_TIMEOUT, once, &steps, &ms1);
	for (int i = 0; i < 5; i++) event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE), usleep(1000);
	CHECK(told == 0);
	close(a[1]);
	for (int i = 0; i < 20 && !told; i++) event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE), usleep(1000);
	CHECK(told == 1 && whats[0] == EV_CLOSED);
	event_free(ev);
	told = 0;
	struct event *sig = evsignal_new(base, SIGUSR1, record, NULL);
	event_set_color(sig, color);
	event_add(sig, NULL);
	for (int i = 0; i < 3; i++) raise(SIGUSR1);
	CHECK(event_base_loop(base, 0) == 0);
	CHECK(told == 3 && whats[2] == EV_SIGNAL);
	event_free(sig);
	told = 0;
	ev = event_new(base, -1, 0, never, color);
	event_set_color(ev, color);
	event_add(ev, &ms1);
	CHECK(!event_free_finalize(0, ev, finalizer));
	CHECK(event_base_loop(base, 0) == 1);
	CHECK(told == 1 && whats[0] == EV_FINALIZE);
	dapple_color_unref(color);
}

/* ---- changes while a callback runs, or before it runs */
static int signals_told;
static void one_signal(evutil_socket_t number, short what, void *self) {
	(void)number, (void)what;
	signals_told++;
	event_free(*(struct event **)self);
}
static struct event *machine;
static atomic_int writes;
static void writing(evutil_socket_t fd, short what, void *arg) {
	(void)fd, (void)what, (void)arg;
	atomic_fetch_add(&writes, 1);
}
static void reading(evutil_socket_t fd, short what, void *color) {
	(void)what;
	atomic_store(&in_slow, 1);
	/* A state machine: the event gets another callback. */
	CHECK(!event_assign(machine, base, fd, EV_WRITE, writing, NULL));
	CHECK(!event_set_color(machine, color));
	usleep(20000);
	atomic_store(&slow_done, 1);
}
static void *from_a_thread(void *arg) {
	usleep(10000);
	*(dapple_color **)arg = dapple_color_new(base, "late");
	CHECK(!dapple_post(*(dapple_color **)arg, hold, NULL));
	return NULL;
}
static void changes(void) {
	static struct event *sig;
	int a[2];
	char byte;
	dapple_color *color = dapple_color_new(base, "changes"), *late;
	sig = evsignal_new(base, SIGUSR1, one_signal, &sig);
	event_set_color(sig, color);
	event_add(sig, NULL);
	for (int i = 0; i < 3; i++) raise(SIGUSR1);
	CHECK(event_base_loop(base, 0) == 1 && signals_told == 1);

	pair(a);
	CHECK(write(a[1], "x", 1) == 1);
	machine = event_new(base, a[0], EV_READ, reading, color);
	event_set_color(machine, color);
	event_add(machine, NULL);
	event_base_once(base, -1, EV_TIMEOUT, deleter, machine, &ms1);
	CHECK(event_base_loop(base, 0) == 1 && slow_done);
	CHECK(read(a[0], &byte, 1) == 1);
	event_free(machine);

	/* If an expired timer is added again before it runs, it runs at the new time. */
	CHECK(!dapple_post(color, hold, NULL));
	while (!atomic_load(&is_held)) usleep(1000);
	struct event *timer = event_new(base, -1, 0, never, NULL);
	event_set_color(timer, color);
	event_active(timer, EV_TIMEOUT, 1);
	CHECK(event_pending(timer, EV_TIMEOUT, NULL) == EV_TIMEOUT);
	struct timeval hour = {3600, 0};
	event_add(timer, &hour);
	atomic_store(&release_it, 1);
	for (int i = 0; i < 20; i++) event_base_loop(base, EVLOOP_NONBLOCK), usleep(1000);
	CHECK(event_pending(timer, EV_TIMEOUT, NULL) == EV_TIMEOUT);
	event_free(timer);

	/* A loop with EVLOOP_ONCE ends when a callback with a color has run. */
	int fired = 0;
	timer = event_new(base, -1, EV_PERSIST, once, &fired);
	event_set_color(timer, color);
	event_add(timer, &ms1);
	while (fired < 3) CHECK(event_base_loop(base, EVLOOP_ONCE) == 0);
	event_free(timer);
	dapple_color_unref(color);

	/* The first color comes from a thread while the loop waits. */
	pthread_t thread;
	struct event_base *first = base;
	base = event_base_new();
	event_base_set_workers(base, 1);
	struct event *keeps = event_new(base, -1, EV_PERSIST, once, &fired);
	event_add(keeps, &hour);
	pthread_create(&thread, NULL, from_a_thread, &late);
	atomic_store(&is_held, 0);
	while (!atomic_load(&is_held)) CHECK(event_base_loop(base, EVLOOP_ONCE) == 0 || 1);
	pthread_join(thread, NULL);
	dapple_color_unref(late);
	event_free(keeps);
	event_base_free(base);
	base = first;
}

/* ---- event_base_free waits for the base's callbacks */
static void long_call(void *arg) {
	atomic_store(&is_held, 1);
	usleep(1500000);
	*(int *)arg = 1;
}
static void freeing(void) {
	int done = 0;
	dapple_color *color = dapple_color_new(base, "long");
	CHECK(!dapple_post(color, long_call, &done));
	while (!atomic_load(&is_held)) usleep(1000);
	dapple_color_unref(color);
	event_base_free(base);
	base = NULL;
	CHECK(done == 1);
}

/* ---- misuse */
static void misuse(void) {
	struct event_base *second = event_base_new();
	CHECK(event_base_set_workers(second, 0) == -1 && event_base_set_workers(second, 3) == 0);
	CHECK(!event_base_metrics(second));
	dapple_color *color = dapple_color_new(second, "second");
	CHECK(color && event_base_set_workers(second, 2) == -1);
	struct event ev, zero;
	memset(&zero, 0, sizeof zero);
	event_assign(&ev, base, -1, 0, never, NULL);
	CHECK(event_set_color(&ev, color) == -1 && event_set_color(&zero, color) == -1 && event_set_color(NULL, color) == -1);
	char *figures = event_base_metrics(second);
	CHECK(strstr(figures, "dapple_"));
	free(figures);
	dapple_color_unref(color);
	event_base_free(second);
	struct event_config *config = event_config_new();
	event_config_avoid_method(config, "epoll");
	struct event_base *polls = event_base_new_with_config(config);
	CHECK(!dapple_color_new(polls, "none"));
	event_base_free(polls), event_config_free(config);
}

/* ---- many events of many colors change each other, and still do when the base is freed */
#define MANY 64
static struct event *many[MANY];
static int peers[MANY];
static dapple_color *colors[8];
static atomic_int fires;
static unsigned rnd(void) {
	static _Thread_local unsigned x;
	if (!x) x = (unsigned)pthread_self() | 1;
	x ^= x << 13, x ^= x >> 17, x ^= x << 5;
	return x;
}
static void storm_cb(evutil_socket_t fd, short what, void *self) {
	char bytes[16];
	(void)self;
	if (what & EV_READ && read(fd, bytes, sizeof bytes) < 0) return;
	if (atomic_fetch_add(&fires, 1) == 20000) event_base_loopexit(base, NULL);
	int at = rnd() % MANY;
	struct event *other = many[at];
	switch (rnd() % 4) {
	case 0: event_active(other, EV_WRITE, 1); break;
	/* If two colors waited for each other's callbacks, they would never end. */
	case 1: event_del_noblock(other); break;
	case 2: event_add(other, rnd() % 2 ? &ms1 : NULL); break;
	default: if (write(peers[at], "x", 1) < 0) return;
	}
	event_add(self, &ms1);
}
static void storm(void) {
	for (int i = 0; i < 8; i++) colors[i] = dapple_color_new(base, "storm");
	for (int i = 0; i < MANY; i++) {
		int a[2];
		pair(a);
		peers[i] = a[1];
		many[i] = event_new(base, a[0], EV_READ | (i % 3 ? EV_PERSIST : 0), storm_cb, event_self_cbarg());
		if (i % 9) event_set_color(many[i], colors[i % 8]);
		event_add(many[i], &ms1);
	}
	CHECK(event_base_loop(base, EVLOOP_NO_EXIT_ON_EMPTY) == 0);
	CHECK(fires > 20000);
	for (int i = 0; i < 8; i++) dapple_color_unref(colors[i]);
	event_base_free(base);
	base = NULL;
}

/* A signal event that deletes itself while calls remain is freed after the loop. The second
 * deletion must not write to the stack of the loop, which has returned; the fill covers it. */
static void deletes_once(evutil_socket_t fd, short what, void *arg) {
	(void)fd, (void)what;
	CHECK(event_del(*(struct event **)arg) == 0);
	atomic_fetch_add(&fires, 1);
}
static __attribute__((noinline)) void frees_on(struct event *ev) {
	volatile unsigned char fill[65536];
	memset((void *)fill, 0x5a, sizeof fill);
	event_free(ev);
	for (size_t i = 0; i < sizeof fill; i++) CHECK(fill[i] == 0x5a);
}
/* The event activates itself again, or removes its timeout, and then frees itself. The remaining
 * calls must not be made. */
static void frees_itself(evutil_socket_t fd, short what, void *arg) {
	struct event *ev = *(struct event **)arg;
	(void)fd, (void)what;
	if (atomic_fetch_add(&fires, 1) == 0) event_active(ev, EV_SIGNAL, 2);
	else CHECK(event_remove_timer(ev) == 0);
	event_free(ev);
}
static void calls(void) {
	static struct event *ev;
	ev = evsignal_new(base, SIGUSR1, deletes_once, &ev);
	CHECK(event_add(ev, NULL) == 0);
	event_active(ev, EV_SIGNAL, 3);
	CHECK(event_base_loop(base, EVLOOP_NONBLOCK) >= 0);
	CHECK(fires == 1);
	frees_on(ev);
	struct timeval second = {1, 0};
	for (int round = 1; round <= 2; round++) {
		fires = round - 1;
		ev = evsignal_new(base, SIGUSR1, frees_itself, &ev);
		CHECK(event_add(ev, &second) == 0);
		event_active(ev, EV_SIGNAL, 3);
		CHECK(event_base_loop(base, EVLOOP_NONBLOCK) >= 0);
		CHECK(fires == round);
	}
}

PARTS(
	{"calls", calls}, {"parallel", parallel}, {"ends", ends}, {"deletes", deletes}, {"kinds", kinds},
	{"changes", changes}, {"freeing", freeing}, {"misuse", misuse}, {"storm", storm}
);
int main(int argc, char **argv) {
	evthread_use_pthreads();
	base = event_base_new();
	int result = run_part(argc, argv, parts);
	if (base) event_base_free(base);
	return result;
}
