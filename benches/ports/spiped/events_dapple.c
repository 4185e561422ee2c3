/* Implements the events of spiped's library (events.h) on dapple.h.
 *
 * This file replaces events.c, events_immediate.c, events_network.c and events_timer.c. An event
 * has the color of the event that registers it, so a program that names no color runs on the
 * default color alone, in the order in which its events become due. Priorities of immediate events
 * are ignored. events_run, events_interrupt, events_timer_reset and the statistics are missing,
 * because spiped does not use them.
 *
 * A socket is watched for edges from its first registration until it is closed, and is nonblocking
 * from then on. If it was ready before, a new registration asks poll whether it still is, and waits
 * only if it is not.
 *
 * After events_spin has returned because an event failed, no event runs, and registered events can
 * still be cancelled. After it has returned because the program is done, events of other colors may
 * still run. Outside events_spin, the thread of main has the default color. */
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/time.h>

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "dapple.h"

#include "crypto_aes.h"
#include "crypto_aesctr.h"
#include "crypto_entropy.h"
#include "events.h"
#include "events_color.h"

/* The sources call events_close instead of close; see build.sh. */
#undef close
int close(int);

#define NANOSECONDS 1000000000.0

/* Sockets have smaller numbers than this. */
#define MOST_SOCKETS (1 << 20)

/* A call to make once, on a color. It is freed after the call, or after it was cancelled. */
struct event {
	int (* func)(void *);
	void * cookie;
	int is_cancelled;
	/* Only for a timer. */
	dapple_timer * timer;
};

/* The event that waits for one direction of a socket. */
struct side {
	int (* func)(void *);
	void * cookie;
	int socket;
	/* The socket was ready, and may still be. */
	int is_ready;
	/* Asks poll, and calls func. */
	struct event * attempt;
};

/* A socket belongs to the color that registered it first, until it is closed. */
struct socket {
	dapple_watch * watch;
	struct side sides[2];
};

static dapple_runtime * runtime;
static dapple_color * default_color;

/* All sockets, by number. */
static struct socket * sockets;
static size_t nsockets;

/* A nonzero result of an event, and the variable that events_spin waits for. */
static atomic_int failure;
static int * spins_until;

static _Thread_local int is_main;

/* The library tests the CPU's features at their first use, which is not safe on two threads at a
 * time. */
static int
choose_instructions(void)
{
	uint8_t bytes[32];
	struct crypto_aes_key * key;
	struct crypto_aesctr * stream;

	if (crypto_entropy_read(bytes, sizeof(bytes)))
		return (-1);
	if ((key = crypto_aes_key_expand(bytes, sizeof(bytes))) == NULL)
		return (-1);
	if ((stream = crypto_aesctr_init(key, 0)) != NULL)
		crypto_aesctr_free(stream);
	crypto_aes_key_free(key);
	return (stream == NULL ? -1 : 0);
}

/* Makes the runtime at the first call, which comes after spiped has become a daemon. */
static int
initialize(void)
{
	dapple_options options = { .size = sizeof(options), .flags = DAPPLE_HERE };
	struct rlimit limit;

	if (runtime != NULL)
		return (0);
	if (choose_instructions() || getrlimit(RLIMIT_NOFILE, &limit))
		return (-1);
	nsockets = limit.rlim_cur < MOST_SOCKETS ? (size_t)limit.rlim_cur : MOST_SOCKETS;
	if ((sockets = calloc(nsockets, sizeof(*sockets))) == NULL)
		return (-1);
	if ((runtime = dapple_runtime_new(&options)) == NULL)
		return (-1);
	default_color = dapple_runtime_default_color(runtime);
	is_main = 1;
	return (0);
}

static dapple_color *
current_color(void)
{
	dapple_color * current = dapple_color_current();

	return (current != NULL ? current : default_color);
}

/* Makes events_spin return the result of an event. */
static void
fail(int rc)
{

	failure = rc;
	dapple_runtime_stop(runtime);
}

/* Makes the call, and ends events_spin when the program is done. Returns 0, and calls nothing, if
 * an event has failed before. */
static int
call(int (* func)(void *), void * cookie)
{
	int rc;

	if (failure != 0)
		return (0);
	if ((rc = func(cookie)) != 0)
		fail(rc);
	else if (is_main && spins_until != NULL && *spins_until)
		dapple_runtime_stop(runtime);
	return (1);
}

/* Immediate events. */

static void
run_event(void * argument)
{
	struct event * e = argument;

	/* Calls that are not made can still be cancelled. */
	if (e->is_cancelled || call(e->func, e->cookie))
		free(e);
}

static struct event *
post(dapple_color * color, int (* func)(void *), void * cookie)
{
	struct event * e;

	if ((e = calloc(1, sizeof(*e))) == NULL)
		return (NULL);
	e->func = func;
	e->cookie = cookie;
	if (dapple_post(color, run_event, e)) {
		free(e);
		return (NULL);
	}
	return (e);
}

void *
events_immediate_register(int (* func)(void *), void * cookie, int prio)
{

	(void)prio;
	return (initialize() ? NULL : post(current_color(), func, cookie));
}

void
events_immediate_cancel(void * cookie)
{
	struct event * e = cookie;

	e->is_cancelled = 1;
}

/* Timers. */

static void
run_timer(void * argument)
{
	struct event * e = argument;

	if (call(e->func, e->cookie)) {
		dapple_timer_free(e->timer);
		free(e);
	}
}

void *
events_timer_register_double(int (* func)(void *), void * cookie, double timeo)
{
	struct event * e;

	if (initialize() || (e = calloc(1, sizeof(*e))) == NULL)
		return (NULL);
	e->func = func;
	e->cookie = cookie;
	if (dapple_post_after(current_color(), (uint64_t)(timeo * NANOSECONDS), run_timer, e,
	    &e->timer)) {
		free(e);
		return (NULL);
	}
	return (e);
}

void *
events_timer_register(int (* func)(void *), void * cookie, const struct timeval * timeo)
{

	return (events_timer_register_double(func, cookie,
	    (double)timeo->tv_sec + (double)timeo->tv_usec * 1e-6));
}

void
events_timer_cancel(void * cookie)
{
	struct event * e = cookie;

	/* The timer has the color that runs, or no event runs, so the answer is final. */
	dapple_timer_cancel(e->timer);
	free(e);
}

/* Sockets. */

static struct socket *
socket_of(int s)
{

	if (s < 0 || (size_t)s >= nsockets) {
		errno = EBADF;
		return (NULL);
	}
	return (&sockets[s]);
}

static int
attempt(void * cookie)
{
	struct side * side = cookie;
	struct socket * socket = &sockets[side->socket];
	struct pollfd fd = { .fd = side->socket };
	int (* func)(void *) = side->func;

	side->attempt = NULL;
	fd.events = side == &socket->sides[EVENTS_NETWORK_OP_READ] ? POLLIN : POLLOUT;
	if (poll(&fd, 1, 0) == 0) {
		/* What arrives from now on is a new edge, for which ready() is called. */
		side->is_ready = 0;
		return (0);
	}
	side->func = NULL;
	/* The call may close the socket, which may then belong to another color, so it is not used after
	 * this. */
	return (func(side->cookie));
}

static int
try_now(struct side * side)
{

	if (side->func != NULL && side->attempt == NULL)
		side->attempt = post(current_color(), attempt, side);
	return (side->func != NULL && side->attempt == NULL ? -1 : 0);
}

static void
ready(int what, void * argument)
{
	struct socket * socket = argument;
	int op, sides[2] = { DAPPLE_READABLE | DAPPLE_CLOSED, DAPPLE_WRITABLE };

	if (failure != 0)
		return;
	for (op = 0; op < 2; op++) {
		if ((what & (sides[op] | DAPPLE_ERROR)) == 0)
			continue;
		socket->sides[op].is_ready = 1;
		if (try_now(&socket->sides[op]))
			fail(-1);
	}
}

/* Watches a socket that is not watched. */
static int
watch(struct socket * socket, int s)
{
	int on = 1;

	if (socket->watch != NULL)
		return (0);
	if (ioctl(s, FIONBIO, &on))
		return (-1);
	socket->watch = dapple_on_ready(current_color(), s,
	    DAPPLE_READABLE | DAPPLE_WRITABLE | DAPPLE_EDGE, ready, socket);
	return (socket->watch == NULL ? -1 : 0);
}

int
events_network_register(int (* func)(void *), void * cookie, int s, int op)
{
	struct socket * socket;
	struct side * side;

	if (initialize() || (socket = socket_of(s)) == NULL)
		return (-1);
	side = &socket->sides[op];
	if (side->func != NULL) {
		errno = EEXIST;
		return (-1);
	}
	if (watch(socket, s))
		return (-1);
	side->socket = s;
	side->func = func;
	side->cookie = cookie;
	if (side->is_ready && try_now(side)) {
		side->func = NULL;
		return (-1);
	}
	return (0);
}

int
events_network_cancel(int s, int op)
{
	struct socket * socket;
	struct side * side;

	if ((socket = socket_of(s)) == NULL || (side = &socket->sides[op])->func == NULL) {
		errno = ENOENT;
		return (-1);
	}
	if (side->attempt != NULL)
		side->attempt->is_cancelled = 1;
	side->attempt = NULL;
	side->func = NULL;
	return (0);
}

int
events_close(int s)
{
	struct socket * socket;

	if ((socket = socket_of(s)) != NULL && socket->watch != NULL) {
		events_network_cancel(s, EVENTS_NETWORK_OP_READ);
		events_network_cancel(s, EVENTS_NETWORK_OP_WRITE);
		dapple_watch_end(socket->watch);
		*socket = (struct socket){ .watch = NULL };
	}
	return (close(s));
}

/* The loop. */

int
events_spin(int * done)
{

	if (initialize())
		return (-1);
	spins_until = done;
	/* dapple_runtime_run may return because of an earlier call's stop. */
	while (*done == 0 && failure == 0)
		if (dapple_runtime_run(runtime))
			return (-1);
	spins_until = NULL;
	/* All running events have ended then, and the others are not called. */
	if (failure != 0)
		dapple_runtime_wait_idle(runtime);
	return (failure);
}

/* Colors. */

int
events_new_color(int (* func)(void *), void * cookie)
{
	dapple_color_options options = { .size = sizeof(options), .label = "connection" };
	dapple_color * color;
	struct event * e;

	if ((color = dapple_runtime_color_new(runtime, &options)) == NULL)
		return (-1);
	e = post(color, func, cookie);
	dapple_color_unref(color);
	return (e == NULL ? -1 : 0);
}

static void
run_notice(void * argument)
{
	struct event * e = argument;

	/* Runs even if an event has failed, because the end of work must be recorded. */
	if (!call(e->func, e->cookie))
		(void)e->func(e->cookie);
	free(e);
}

int
events_default_color(int (* func)(void *), void * cookie)
{
	struct event * e;

	if (is_main && spins_until == NULL)
		return (func(cookie));
	if ((e = calloc(1, sizeof(*e))) == NULL)
		return (-1);
	e->func = func;
	e->cookie = cookie;
	if (dapple_post(default_color, run_notice, e)) {
		free(e);
		return (-1);
	}
	return (0);
}
