/* Checks dapple.h without libevent. Each part prints "ok". */
#include "parts.h"

#include <dapple.h>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#define SECOND 1000000000ull
#define MS 1000000ull

static dapple_runtime *rt;
static pthread_t me;

static uint64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}
static void start(unsigned workers, unsigned flags) {
	dapple_options options = {.size = sizeof options, .workers = workers, .flags = flags};
	me = pthread_self();
	rt = dapple_runtime_new(&options);
	CHECK(rt && dapple_runtime_workers(rt) == (int)workers);
}
static void end(void) { CHECK(dapple_runtime_free(rt, 10 * SECOND) == 0); }
static dapple_color *color_of(const char *label) {
	dapple_color_options options = {.size = sizeof options, .label = label};
	dapple_color *color = dapple_runtime_color_new(rt, &options);
	CHECK(color);
	return color;
}
static void nothing(void *arg) { (void)arg; }
static void set(void *arg) { atomic_store((atomic_int *)arg, 1); }
static void add(void *arg) { atomic_fetch_add((atomic_int *)arg, 1); }
static void stop(void *arg) { (void)arg; CHECK(dapple_runtime_stop(rt) == 0); }

/* ---- posts of one color are in order and never at once; the argument is freed on the color */
#define COLORS 4
static struct lane { dapple_color *color; int got, freed; atomic_int inside; } lanes[COLORS];
struct letter { struct lane *lane; int number; };
static void take(void *arg) {
	struct letter *letter = arg;
	struct lane *lane = letter->lane;
	CHECK(dapple_color_current() == lane->color && dapple_color_is_current(lane->color));
	CHECK(!dapple_color_is_current(lanes[lane == lanes].color));
	CHECK(atomic_fetch_add(&lane->inside, 1) == 0);
	CHECK(letter->number == lane->got++);
	for (volatile int i = 0; i < 500; i++) ;
	atomic_fetch_sub(&lane->inside, 1);
}
static void give_up(void *arg) {
	struct letter *letter = arg;
	CHECK(dapple_color_current() == letter->lane->color);
	letter->lane->freed++;
	free(letter);
}
static void posts(void) {
	start(3, 0);
	for (int i = 0; i < COLORS; i++) lanes[i].color = color_of("lane");
	for (int n = 0; n < 2000; n++)
		for (int i = 0; i < COLORS; i++) {
			struct letter *letter = malloc(sizeof *letter);
			*letter = (struct letter){&lanes[i], n};
			CHECK(!dapple_post_from(lanes[i].color, take, letter, give_up, __FILE__, __LINE__));
		}
	CHECK(dapple_runtime_wait_idle(rt) == 0);
	for (int i = 0; i < COLORS; i++) {
		CHECK(lanes[i].got == 2000 && lanes[i].freed == 2000);
		dapple_color_unref(lanes[i].color);
	}
	char *figures = dapple_runtime_metrics(rt);
	CHECK(figures && strstr(figures, "dapple_events_total 8000") && strstr(figures, "lane"));
	free(figures);
	char *report = dapple_runtime_report(rt);
	CHECK(report && strstr(report, "lane") && strstr(report, "dapple.c:"));
	free(report);
	CHECK(dapple_color_current() == NULL);
	end();
}

/* ---- shared events overlap each other but no exclusive one; sets; uncolored events */
static atomic_int readers, most_readers, writers;
static void reads(void *arg) {
	(void)arg;
	CHECK(atomic_load(&writers) == 0);
	int n = atomic_fetch_add(&readers, 1) + 1, seen = atomic_load(&most_readers);
	while (n > seen && !atomic_compare_exchange_weak(&most_readers, &seen, n)) ;
	for (uint64_t until = now() + 2 * MS; now() < until;) ;
	atomic_fetch_sub(&readers, 1);
}
static void writes(void *arg) {
	(void)arg;
	CHECK(atomic_load(&readers) == 0 && atomic_fetch_add(&writers, 1) == 0);
	atomic_fetch_sub(&writers, 1);
}
static void shared(void) {
	start(2, 0);
	dapple_color *table = color_of("table");
	for (int round = 0; round < 5; round++) {
		CHECK(!dapple_post(table, writes, NULL));
		for (int i = 0; i < 8; i++) CHECK(!dapple_post_shared(table, reads, NULL));
	}
	CHECK(!dapple_post(table, writes, NULL));
	CHECK(dapple_runtime_wait_idle(rt) == 0);
	CHECK(atomic_load(&most_readers) == 2);
	dapple_color_unref(table);
	end();
}
static dapple_color *accounts[3];
static long balances[3];
static void transfer(void *arg) {
	int from = (int)(intptr_t)arg, to = (from + 1) % 3;
	CHECK(dapple_color_is_current(accounts[from]) && dapple_color_is_current(accounts[to]));
	CHECK(!dapple_color_is_current(accounts[(from + 2) % 3]) && !dapple_color_current());
	balances[from]--, balances[to]++;
}
static void audit(void *arg) {
	CHECK(balances[0] + balances[1] + balances[2] == 300);
	add(arg);
}
static void sets(void) {
	static atomic_int audits;
	start(2, 0);
	for (int i = 0; i < 3; i++) accounts[i] = color_of(NULL), balances[i] = 100;
	for (int n = 0; n < 3000; n++) {
		int from = n % 3;
		dapple_access two[] = {{accounts[from], 0}, {accounts[(from + 1) % 3], 0}};
		CHECK(!dapple_post_set(two, 2, transfer, (void *)(intptr_t)from));
		dapple_access all[] = {{accounts[2], 1}, {accounts[0], 1}, {accounts[1], 1}};
		CHECK(!dapple_post_set(all, 3, audit, &audits));
	}
	CHECK(dapple_runtime_wait_idle(rt) == 0);
	CHECK(audits == 3000 && balances[0] == 100);
	dapple_access same[] = {{accounts[0], 1}, {accounts[0], 0}};
	CHECK(!dapple_post_set(same, 2, add, &audits));
	CHECK(dapple_runtime_wait_idle(rt) == 0 && audits == 3001);
	FAILS(dapple_post_set(same, 0, add, &audits), EINVAL);
	FAILS(dapple_post_set(NULL, 2, add, &audits), EINVAL);
	same[1].color = NULL;
	FAILS(dapple_post_set(same, 2, add, &audits), EINVAL);
	for (int i = 0; i < 3; i++) dapple_color_unref(accounts[i]);
	end();
}
static void sees_no_color(void *arg) {
	CHECK(dapple_color_current() == NULL);
	add(arg);
}
static void uncolored(void) {
	static atomic_int ran;
	start(2, 0);
	for (int n = 0; n < 1000; n++) CHECK(!dapple_post_uncolored(rt, sees_no_color, &ran));
	CHECK(dapple_runtime_wait_idle(rt) == 0 && ran == 1000);
	end();
}

/* ---- bounded colors, options, keys */
static atomic_int may_go;
static void waits(void *arg) {
	(void)arg;
	while (!atomic_load(&may_go)) usleep(100);
}
static void options(void) {
	start(2, DAPPLE_UNPINNED);
	static atomic_int ran, freed;
	dapple_color_options two = {.size = sizeof two, .capacity = 2, .priority = DAPPLE_HIGH};
	dapple_color *bounded = dapple_runtime_color_new(rt, &two);
	CHECK(!dapple_try_post(bounded, waits, NULL));
	CHECK(!dapple_try_post(bounded, add, &ran));
	FAILS(dapple_try_post(bounded, add, &ran), EAGAIN);
	errno = 0;
	CHECK(dapple_try_post_from(bounded, add, &ran, add, NULL, 0) == -1 && freed == 0);
	CHECK(!dapple_post_from(bounded, add, &ran, NULL, NULL, 0));
	atomic_store(&may_go, 1);
	CHECK(dapple_runtime_wait_idle(rt) == 0 && ran == 2);
	dapple_color_unref(bounded);
	dapple_color_options wrong = {.size = 3};
	IS_NULL(dapple_runtime_color_new(rt, &wrong), EINVAL);
	wrong = (dapple_color_options){.size = sizeof wrong, .priority = 7};
	IS_NULL(dapple_runtime_color_new(rt, &wrong), EINVAL);
	wrong = (dapple_color_options){.size = sizeof wrong, .flags = DAPPLE_BOUND};
	IS_NULL(dapple_runtime_color_new(rt, &wrong), EINVAL);
	IS_NULL(dapple_runtime_color_new(NULL, NULL), EINVAL);
	dapple_options bad = {.size = sizeof bad, .flags = 64};
	IS_NULL(dapple_runtime_new(&bad), EINVAL);
	bad = (dapple_options){.size = sizeof bad, .workers = DAPPLE_MOST_WORKERS + 1};
	IS_NULL(dapple_runtime_new(&bad), EINVAL);
	dapple_color *ada = dapple_runtime_color_of_key(rt, "ada", 3);
	dapple_color *bob = dapple_runtime_color_of_key(rt, "bob", 3);
	dapple_color *again = dapple_runtime_color_of_key(rt, "ada", 3);
	CHECK(ada == again && ada != bob);
	CHECK(dapple_color_ref(ada) == ada && dapple_color_ref(NULL) == NULL);
	for (int i = 0; i < 3; i++) dapple_color_unref(ada);
	dapple_color_unref(bob);
	dapple_color_unref(NULL);
	IS_NULL(dapple_runtime_color_of_key(rt, NULL, 3), EINVAL);
	dapple_color *empty = dapple_runtime_color_of_key(rt, NULL, 0);
	CHECK(empty);
	dapple_color_unref(empty);
	end();
}

/* ---- a key's color lives until all that was posted to it has run */
static atomic_int key_inside, key_runs;
static void by_key(void *arg) {
	CHECK(atomic_fetch_add(&key_inside, 1) == 0);
	CHECK(dapple_color_current() == arg || !arg);
	for (volatile int i = 0; i < 200; i++) ;
	atomic_fetch_sub(&key_inside, 1);
	add(&key_runs);
}
static void keys(void) {
	start(3, 0);
	for (int n = 0; n < 20000; n++) {
		dapple_color *color = dapple_runtime_color_of_key(rt, &(int){7}, sizeof(int));
		CHECK(!dapple_post(color, by_key, color));
		dapple_color_unref(color);
	}
	CHECK(dapple_runtime_wait_idle(rt) == 0 && key_runs == 20000);
	end();
}

/* ---- timers */
static uint64_t due;
static void checks_time(void *arg) {
	CHECK(now() >= due);
	add(arg);
}
static dapple_timer *ticking;
static void ticks(void *arg) {
	if (atomic_fetch_add((atomic_int *)arg, 1) == 2) {
		CHECK(dapple_timer_cancel(ticking) == 1);
		stop(NULL);
	}
}
static atomic_int ticked;
/* Runs on the timer's color, so that the handle is stored before the timer fires. */
static void starts_ticking(void *arg) {
	CHECK(!dapple_every(arg, 2 * MS, ticks, &ticked, &ticking));
}
static void timers(void) {
	static atomic_int fired, freed, never;
	start(2, 0);
	dapple_color *color = color_of("timers");
	due = now() + 10 * MS;
	dapple_timer *timer;
	CHECK(!dapple_post_after_from(color, 10 * MS, checks_time, &fired, nothing, NULL, NULL, 0));
	CHECK(!dapple_post_after(color, 3600 * SECOND, add, &never, &timer));
	CHECK(dapple_timer_cancel(timer) == 1);
	CHECK(!dapple_post_after_from(color, UINT64_MAX, set, &never, set, &timer, NULL, 0));
	never = 0;
	CHECK(dapple_timer_cancel(timer) == 1);
	CHECK(!dapple_post_after(color, 0, add, &freed, &timer));
	while (!freed) usleep(100);
	CHECK(dapple_timer_cancel(timer) == 0);
	CHECK(!dapple_post(color, starts_ticking, color));
	CHECK(dapple_runtime_run(rt) == 0);
	CHECK(ticked == 3);
	while (!fired) usleep(100);
	CHECK(!dapple_post_after(color, 3600 * SECOND, add, &freed, &timer));
	dapple_timer_free(timer);
	dapple_timer_free(NULL);
	timer = (dapple_timer *)1;
	FAILS(dapple_every(color, 0, add, &freed, &timer), EINVAL);
	CHECK(timer == NULL);
	FAILS(dapple_post_after(NULL, 0, add, &freed, NULL), EINVAL);
	FAILS(dapple_timer_cancel(NULL), EINVAL);
	dapple_color_unref(color);
	end();
	CHECK(freed == 1);
}

/* ---- descriptors: level, edge, interest, pauses, end of file; a regular file */
static int ends[2];
static dapple_watch *watch;
static atomic_int calls, ended;
static void on_bytes(int what, void *arg) {
	char byte;
	(void)arg;
	CHECK(what & DAPPLE_READABLE);
	ssize_t n = read(ends[0], &byte, 1);
	if (n == 0) {
		dapple_watch_end(watch);
		return;
	}
	/* It may be called for data that it has already read. */
	if (n < 0) {
		CHECK(errno == EAGAIN);
		return;
	}
	add(&calls);
}
static void closes(void *arg) { (void)arg; close(ends[0]); set(&ended); }
static void on_space(int what, void *arg) {
	CHECK(what & DAPPLE_WRITABLE);
	add(arg);
	CHECK(!dapple_watch_set_interest(watch, DAPPLE_READABLE));
}
static atomic_int writable;
/* Runs on the descriptor's color, so that the handle is stored before the descriptor is ready. */
static void waits_for_space(void *arg) {
	watch = dapple_on_ready(arg, ends[0], DAPPLE_WRITABLE | DAPPLE_EDGE, on_space, &writable);
	CHECK(watch);
}
static void descriptors(void) {
	start(2, 0);
	dapple_color *color = color_of("descriptors");
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends));
	watch = dapple_on_ready_from(color, ends[0], DAPPLE_READABLE, on_bytes, NULL, closes, NULL, 0);
	CHECK(watch);
	CHECK(write(ends[1], "abc", 3) == 3);
	while (calls < 3) usleep(100);
	CHECK(!dapple_watch_pause(watch));
	CHECK(write(ends[1], "d", 1) == 1);
	usleep(5000);
	CHECK(calls == 3);
	CHECK(!dapple_watch_resume(watch));
	while (calls < 4) usleep(100);
	close(ends[1]);
	while (!ended) usleep(100);
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends));
	CHECK(!dapple_post(color, waits_for_space, color));
	while (!writable) usleep(100);
	CHECK(dapple_runtime_wait_idle(rt) == 0);
	dapple_watch_end(watch);
	CHECK(dapple_runtime_wait_idle(rt) == 0);
	close(ends[0]), close(ends[1]);
	/* A call that fails does not free the argument. */
	FILE *file = tmpfile();
	ended = 0;
	static const struct { int of, with; } refused[] = {{0, EPERM}, {9999, EBADF}, {-1, EBADF}};
	for (int i = 0; i < 3; i++) {
		int fd = i == 0 ? fileno(file) : refused[i].of;
		IS_NULL(dapple_on_ready_from(color, fd, DAPPLE_READABLE, on_bytes, NULL, closes, NULL, 0),
			refused[i].with);
	}
	IS_NULL(dapple_on_ready(color, ends[0], 0, on_bytes, NULL), EINVAL);
	IS_NULL(dapple_on_ready(color, ends[0], DAPPLE_CLOSED, on_bytes, NULL), EINVAL);
	IS_NULL(dapple_on_ready(color, ends[0], DAPPLE_READABLE, NULL, NULL), EINVAL);
	CHECK(!ended);
	fclose(file);
	dapple_watch_end(NULL);
	FAILS(dapple_watch_pause(NULL), EINVAL);
	dapple_color_unref(color);
	end();
}

/* ---- signals */
static void on_signal(int signal, void *arg) {
	CHECK(signal == SIGUSR1);
	add(arg);
}
static void signals(void) {
	static atomic_int got, freed;
	start(2, 0);
	dapple_color *color = color_of("signals");
	dapple_watch *signal = dapple_on_signal_from(color, SIGUSR1, on_signal, &got, nothing, NULL, 0);
	CHECK(signal);
	for (int n = 1; n <= 3; n++) {
		raise(SIGUSR1);
		while (got < n) usleep(100);
	}
	FAILS(dapple_watch_pause(signal), EINVAL);
	FAILS(dapple_watch_set_interest(signal, DAPPLE_READABLE), EINVAL);
	dapple_watch_end(signal);
	IS_NULL(dapple_on_signal_from(color, SIGKILL, on_signal, &got, add, NULL, 0), EINVAL);
	IS_NULL(dapple_on_signal_from(color, 999, on_signal, &freed, add, NULL, 0), EINVAL);
	CHECK(freed == 0);
	dapple_color_unref(color);
	end();
}

/* ---- offloaded work */
struct job { pthread_t on; int done; atomic_int freed; dapple_color *color; };
static void works(void *arg) {
	struct job *job = arg;
	CHECK(dapple_color_current() == NULL);
	job->on = pthread_self();
	job->done = 1;
}
static void then(void *arg) {
	struct job *job = arg;
	CHECK(job->done == 1 && dapple_color_current() == job->color);
	CHECK(!pthread_equal(job->on, pthread_self()));
	job->done = 2;
}
static void frees_job(void *arg) { atomic_store(&((struct job *)arg)->freed, 1); }
static void offload(void) {
	start(1, 0);
	struct job job = {.color = color_of("offload")};
	CHECK(!dapple_offload_from(job.color, works, then, &job, frees_job, NULL, 0));
	CHECK(dapple_runtime_wait_idle(rt) == 0 && job.done == 2 && job.freed == 1);
	FAILS(dapple_offload(job.color, NULL, then, &job), EINVAL);
	FAILS(dapple_offload(job.color, works, NULL, &job), EINVAL);
	FAILS(dapple_offload(NULL, works, then, &job), EINVAL);
	dapple_color_unref(job.color);
	end();
}

/* ---- a domain: steps, contexts, the order of deferred actions */
struct state { long sum; int copies; };
static atomic_int states;
static void *copy(const void *from) {
	struct state *made = malloc(sizeof *made);
	*made = *(const struct state *)from;
	made->copies++;
	add(&states);
	return made;
}
static void free_state(void *state) { free(state); atomic_fetch_sub(&states, 1); }
static long order[3000], reported;
static dapple_domain *domain;
static void reports(void *arg) { order[reported++] = (long)(intptr_t)arg; }
static void slow(void) { for (volatile int i = 0; i < 2000; i++) ; }
static void reads_state(dapple_token *token, void *arg) {
	const struct state *state = dapple_token_state(token);
	CHECK(dapple_token_context(token) == DAPPLE_ANON && state);
	IS_NULL(dapple_token_state_mut(token), EPERM);
	FAILS(dapple_token_enter(token, DAPPLE_GLOBAL, reads_state, arg), EPERM);
	FAILS(dapple_token_exclusive(token, reads_state, arg), EPERM);
	CHECK(state->sum == (long)(intptr_t)arg + 1);
	slow();
	CHECK(!dapple_token_defer(token, reports, arg));
}
static void changes(dapple_token *token, void *arg) {
	struct state *state = dapple_token_state_mut(token);
	CHECK(dapple_token_context(token) == DAPPLE_GLOBAL && state);
	CHECK(state->sum++ == (long)(intptr_t)arg);
	CHECK(!dapple_token_enter(token, DAPPLE_ANON, reads_state, arg));
	FAILS(dapple_token_enter(token, DAPPLE_ANON, reads_state, arg), EALREADY);
}
static void begins(dapple_token *token, void *arg) {
	CHECK(dapple_token_context(token) == DAPPLE_NONE);
	IS_NULL(dapple_token_state(token), EPERM);
	CHECK(dapple_token_ticket(token) == (uint64_t)(intptr_t)arg + 1);
	slow();
	FAILS(dapple_token_enter(token, 9, changes, arg), EINVAL);
	FAILS(dapple_token_enter(token, DAPPLE_GLOBAL, NULL, arg), EINVAL);
	CHECK(!dapple_token_enter(token, DAPPLE_GLOBAL, changes, arg));
}
static void domains_with(void *(*clone)(const void *)) {
	start(3, 0);
	struct state *state = calloc(1, sizeof *state);
	states = 1;
	reported = 0;
	domain = dapple_domain_new(rt, state, clone, free_state, "orders");
	CHECK(domain);
	for (intptr_t n = 0; n < 3000; n++)
		CHECK(!dapple_domain_post(domain, DAPPLE_GLOBAL, begins, (void *)n));
	FAILS(dapple_domain_post(domain, 5, begins, NULL), EINVAL);
	FAILS(dapple_domain_post(NULL, 0, begins, NULL), EINVAL);
	dapple_domain_free(domain);
	CHECK(dapple_runtime_wait_idle(rt) == 0);
	CHECK(reported == 3000);
	for (int n = 0; n < 3000; n++) CHECK(order[n] == n);
	end();
	CHECK(states == 0);
}
static void domains(void) {
	domains_with(copy);
	domains_with(NULL);
	dapple_domain_free(NULL);
}
static atomic_int steps, step_frees;
static void counts(dapple_token *token, void *arg) {
	(void)arg;
	CHECK(dapple_token_context(token) == DAPPLE_NONE);
	FAILS(dapple_token_enter(token, DAPPLE_GLOBAL, counts, NULL), EPERM);
	add(&steps);
}
static void alone(dapple_token *token, void *arg) {
	CHECK(dapple_token_context(token) == DAPPLE_GLOBAL);
	CHECK(*(long *)dapple_token_state_mut(token) == 5 && steps == 2);
	add(&steps);
	CHECK(!dapple_token_commit_then_from(token, DAPPLE_NONE, counts, arg, add, NULL, 0));
}
static void deferred(void *arg) { CHECK(steps == 1); add(arg); }
static void in_global(dapple_token *token, void *arg) {
	*(long *)dapple_token_state_mut(token) = 5;
	CHECK(!dapple_token_defer(token, deferred, &steps));
	CHECK(!dapple_token_exclusive_from(token, alone, arg, add, NULL, 0));
}
static void renounces(dapple_token *token, void *arg) {
	CHECK(!dapple_token_renounce(token, DAPPLE_NONE));
	FAILS(dapple_token_enter(token, DAPPLE_ANON, renounces, arg), EPERM);
	add(&steps);
}
static void enters(dapple_token *token, void *arg) {
	CHECK(!dapple_token_enter_from(token, DAPPLE_GLOBAL, in_global, arg, add, NULL, 0));
}
static void tokens(void) {
	long state = 0;
	start(2, 0);
	domain = dapple_domain_new(rt, &state, NULL, NULL, NULL);
	CHECK(!dapple_domain_post_from(domain, DAPPLE_GLOBAL, renounces, &step_frees, add, NULL, 0));
	CHECK(!dapple_domain_post_from(domain, DAPPLE_GLOBAL, enters, &step_frees, add, NULL, 0));
	CHECK(dapple_runtime_wait_idle(rt) == 0);
	CHECK(steps == 4 && step_frees == 5 && state == 5);
	FAILS(dapple_token_context(NULL), EINVAL);
	CHECK(dapple_token_ticket(NULL) == 0);
	dapple_domain_free(domain);
	end();
}

static void counts_global(dapple_token *token, void *arg) {
	CHECK(dapple_token_context(token) == DAPPLE_GLOBAL);
	add(arg);
}
static void enters_then_renounces(dapple_token *token, void *arg) {
	CHECK(!dapple_token_enter(token, DAPPLE_GLOBAL, counts_global, arg));
	FAILS(dapple_token_renounce(token, DAPPLE_NONE), EALREADY);
}
static void renouncing(void) {
	static atomic_int in_global;
	start(1, 0);
	domain = dapple_domain_new(rt, NULL, NULL, NULL, NULL);
	CHECK(!dapple_domain_post(domain, DAPPLE_GLOBAL, enters_then_renounces, &in_global));
	CHECK(dapple_runtime_wait_idle(rt) == 0 && in_global == 1);
	dapple_domain_free(domain);
	end();
}

/* ---- a callback in a nested turn has no color of the outer one; a shared one runs no turn */
static dapple_color *bound_color;
static atomic_int nested;
static void is_uncolored(void *arg) {
	CHECK(dapple_color_current() == NULL && !dapple_color_is_current(bound_color));
	add(arg);
}
static void step_is_uncolored(dapple_token *token, void *arg) {
	is_uncolored(arg);
	CHECK(!dapple_token_defer(token, is_uncolored, arg));
}
static void nests(void *arg) {
	CHECK(dapple_color_current() == bound_color);
	CHECK(!dapple_domain_post_from(
		domain, DAPPLE_GLOBAL, step_is_uncolored, arg, is_uncolored, NULL, 0));
	CHECK(!dapple_post_uncolored(rt, is_uncolored, arg));
	while (nested < 4) CHECK(dapple_runtime_turn(rt, (int64_t)MS) >= 0);
	CHECK(dapple_color_current() == bound_color);
}
static void turns_no(void *arg) {
	FAILS(dapple_runtime_turn(rt, 0), EDEADLK);
	FAILS(dapple_runtime_run(rt), EDEADLK);
	add(arg);
}
static void nesting(void) {
	static atomic_int tried;
	start(1, DAPPLE_HERE);
	bound_color = dapple_runtime_default_color(rt);
	domain = dapple_domain_new(rt, NULL, NULL, NULL, NULL);
	CHECK(!dapple_post(bound_color, nests, &nested));
	CHECK(dapple_runtime_wait_idle(rt) == 0 && nested == 4);
	CHECK(!dapple_post_shared(bound_color, turns_no, &tried));
	CHECK(dapple_runtime_wait_idle(rt) == 0 && tried == 1);
	dapple_domain_free(domain);
	dapple_color_unref(bound_color);
	end();
}

/* ---- an argument is freed on the color, whether or not the callback ran */
static dapple_color *drop_color;
static atomic_int color_drops;
static void drops_on_it(void *arg) {
	(void)arg;
	CHECK(dapple_color_current() == drop_color);
	add(&color_drops);
}
static void ignores(int what, void *arg) { (void)what, (void)arg; }
static void drops(void) {
	int fds[2];
	CHECK(!pipe(fds));
	start(2, 0);
	drop_color = color_of("drops");
	dapple_timer *timer;
	CHECK(!dapple_post_after_from(drop_color, SECOND, nothing, NULL, drops_on_it, &timer, NULL, 0));
	dapple_timer_cancel(timer);
	CHECK(!dapple_every_from(drop_color, SECOND, nothing, NULL, drops_on_it, &timer, NULL, 0));
	dapple_timer_cancel(timer);
	dapple_watch_end(dapple_on_ready_from(
		drop_color, fds[0], DAPPLE_READABLE, ignores, NULL, drops_on_it, NULL, 0));
	dapple_watch_end(dapple_on_signal_from(
		drop_color, SIGUSR2, ignores, NULL, drops_on_it, NULL, 0));
	CHECK(!dapple_offload_from(drop_color, nothing, nothing, NULL, drops_on_it, NULL, 0));
	CHECK(dapple_runtime_wait_idle(rt) == 0);
	while (color_drops < 5) usleep(100);
	CHECK(!dapple_post_after_from(drop_color, SECOND, nothing, NULL, drops_on_it, NULL, NULL, 0));
	CHECK(dapple_runtime_free(rt, SECOND) >= 0);
	CHECK(color_drops == 6);
	dapple_color_unref(drop_color);
	close(fds[0]), close(fds[1]);
}

/* ---- offloaded work does not wait for its own runtime; a forked child gets an error */
static void waits_for_itself(void *arg) {
	FAILS(dapple_runtime_wait_idle(rt), EDEADLK);
	FAILS(dapple_runtime_free(rt, 0), EDEADLK);
	add(arg);
}
static void *waits_idle(void *arg) {
	dapple_runtime_wait_idle(arg);
	return NULL;
}
static void again(void *color) { dapple_post(color, again, color); }
static void in_another(void *arg) {
	FAILS(dapple_runtime_wait_idle(rt), EDEADLK);
	FAILS(dapple_runtime_free(rt, 0), EDEADLK);
	add(arg);
}
static void waiting(void) {
	static atomic_int tried;
	/* A thread that frees a runtime does not wait for one that waits until the runtime is idle. */
	start(1, 0);
	dapple_color *color = color_of(NULL);
	CHECK(!dapple_post(color, again, color));
	pthread_t thread;
	pthread_create(&thread, NULL, waits_idle, rt);
	usleep(5000);
	CHECK(dapple_runtime_free(rt, 10 * MS) == 1);
	pthread_join(thread, NULL);
	dapple_color_unref(color);
	/* In a callback of another runtime. */
	start(1, 0);
	dapple_runtime *another = dapple_runtime_new(NULL);
	CHECK(!dapple_post_uncolored(another, in_another, &tried));
	CHECK(dapple_runtime_wait_idle(another) == 0 && tried == 1);
	CHECK(dapple_runtime_free(another, SECOND) == 0);
	end();
}
static void offloaded(void) {
	static atomic_int tried;
	start(1, 0);
	dapple_color *color = color_of(NULL);
	CHECK(!dapple_offload(color, waits_for_itself, nothing, &tried));
	CHECK(dapple_runtime_wait_idle(rt) == 0 && tried == 1);
	dapple_color_unref(color);
	end();
}
static void forks(void) {
	for (unsigned flags = 0; flags <= DAPPLE_HERE; flags++) {
		static atomic_int ran;
		start(2, flags);
		dapple_color *color = color_of(NULL);
		pid_t child = fork();
		if (!child) {
			FAILS(dapple_post_from(color, add, &ran, add, NULL, 0), ECHILD);
			FAILS(dapple_runtime_wait_idle(rt), ECHILD);
			FAILS(dapple_runtime_run(rt), ECHILD);
			FAILS(dapple_runtime_turn(rt, 0), ECHILD);
			CHECK(ran == (int)flags && dapple_runtime_free(rt, SECOND) == 0);
			_exit(0);
		}
		int status;
		CHECK(waitpid(child, &status, 0) == child && status == 0);
		CHECK(!dapple_post(color, add, &ran));
		dapple_color_unref(color);
		end();
	}
}

/* ---- dapple_runtime_run may return while another thread is still in dapple_runtime_stop */
static void *stops(void *arg) {
	while (!atomic_load((atomic_int *)arg)) ;
	dapple_runtime_stop(rt);
	return NULL;
}
static void stopping(void) {
	for (int n = 0; n < 100; n++) {
		atomic_int go = 0;
		start(1, n % 2 ? DAPPLE_HERE : 0);
		pthread_t thread;
		pthread_create(&thread, NULL, stops, &go);
		atomic_store(&go, 1);
		CHECK(dapple_runtime_run(rt) == 0);
		/* The other thread may still be in dapple_runtime_stop. */
		pthread_join(thread, NULL);
		end();
	}
}

/* ---- the calling thread as a worker */
static void on_my_thread(void *arg) { CHECK(pthread_equal(me, pthread_self())); add(arg); }
static atomic_int ran_here;
static void suspends(void *arg) {
	/* Another callback of this color runs meanwhile. */
	int before = ran_here;
	while (ran_here == before) CHECK(dapple_runtime_turn(rt, (int64_t)SECOND) >= 0);
	FAILS(dapple_runtime_wait_idle(rt), EDEADLK);
	FAILS(dapple_runtime_free(rt, 0), EDEADLK);
	add(arg);
}
static void cannot(void *arg) {
	if (pthread_equal(me, pthread_self())) FAILS(dapple_runtime_turn(rt, 0), EDEADLK);
	else FAILS(dapple_runtime_turn(rt, 0), EPERM);
	FAILS(dapple_runtime_wait_idle(rt), EDEADLK);
	set(arg);
}
static void *other_thread(void *arg) {
	(void)arg;
	FAILS(dapple_runtime_run(rt), EPERM);
	FAILS(dapple_runtime_free(rt, 0), EPERM);
	FAILS(dapple_runtime_poll_fd(rt), EPERM);
	usleep(20000);
	stop(NULL);
	return NULL;
}
static void here(void) {
	static atomic_int suspended, tried;
	start(2, DAPPLE_HERE);
	dapple_color *color = dapple_runtime_default_color(rt);
	dapple_color_options bound = {.size = sizeof bound, .flags = DAPPLE_BOUND};
	dapple_color *mine = dapple_runtime_color_new(rt, &bound), *any = color_of(NULL);
	for (int n = 0; n < 100; n++)
		CHECK(!dapple_post(n % 2 ? color : mine, on_my_thread, &ran_here));
	CHECK(dapple_runtime_wait_idle(rt) == 0 && ran_here == 100);
	CHECK(!dapple_post(color, suspends, &suspended));
	CHECK(!dapple_post(color, on_my_thread, &ran_here));
	CHECK(dapple_runtime_wait_idle(rt) == 0 && ran_here == 101 && suspended == 1);
	CHECK(!dapple_post(any, cannot, &tried));
	CHECK(dapple_runtime_wait_idle(rt) == 0 && tried == 1);
	pthread_t thread;
	pthread_create(&thread, NULL, other_thread, NULL);
	CHECK(dapple_runtime_run(rt) == 0);
	pthread_join(thread, NULL);
	CHECK(!dapple_post(color, stop, NULL));
	CHECK(dapple_runtime_run(rt) == 0);
	/* Inside another loop: its descriptor, a turn, the next deadline. */
	static atomic_int fired;
	CHECK(!dapple_post_after(color, 20 * MS, on_my_thread, &fired, NULL));
	while (!fired) {
		CHECK(dapple_runtime_turn(rt, 0) >= 0);
		int64_t left = dapple_runtime_deadline_ns(rt);
		struct pollfd one = {.fd = dapple_runtime_poll_fd(rt), .events = POLLIN};
		/* A timer is never early, and at most 0.6 ms late. */
		CHECK(one.fd >= 0 && left <= (int64_t)(21 * MS));
		if (!fired) poll(&one, 1, left < 0 ? -1 : (int)(left / 1000000) + 1);
	}
	dapple_color_unref(any);
	dapple_color_unref(mine);
	dapple_color_unref(color);
	end();
	start(1, 0);
	FAILS(dapple_runtime_turn(rt, 0), EINVAL);
	FAILS(dapple_runtime_poll_fd(rt), EINVAL);
	CHECK(dapple_runtime_deadline_ns(rt) == -1);
	end();
}

/* ---- the end: callbacks that have not run are dropped and freed; new ones are refused */
static void in_the_end(void *arg) {
	(void)arg;
	while (!atomic_load(&may_go)) usleep(100);
}
static void shutdown_(void) {
	static atomic_int ran, freed, refused;
	may_go = 0;
	start(1, 0);
	dapple_color *color = color_of("end");
	for (int n = 0; n < 10; n++)
		CHECK(!dapple_post(color, n ? add : in_the_end, n ? (void *)&ran : NULL));
	CHECK(!dapple_post_after_from(color, 3600 * SECOND, add, &freed, add, NULL, NULL, 0));
	CHECK(!dapple_post_from(color, add, &freed, add, NULL, 0));
	CHECK(dapple_runtime_free(rt, 10 * MS) == 1);
	atomic_store(&may_go, 1);
	while (freed < 2) usleep(100);
	CHECK(ran == 0);
	/* A color may outlive its runtime. The program keeps the argument of a refused post. */
	errno = 0;
	CHECK(dapple_post_from(color, add, &refused, add, NULL, 0) == -1 && errno == ESHUTDOWN);
	FAILS(dapple_post_shared(color, add, &refused), ESHUTDOWN);
	FAILS(dapple_try_post(color, add, &refused), ESHUTDOWN);
	FAILS(dapple_post_after(color, 1, add, &refused, NULL), ESHUTDOWN);
	FAILS(dapple_offload(color, add, add, &refused), ESHUTDOWN);
	IS_NULL(dapple_on_ready(color, 0, DAPPLE_READABLE, on_bytes, NULL), ESHUTDOWN);
	IS_NULL(dapple_on_signal(color, SIGUSR1, on_signal, NULL), ESHUTDOWN);
	CHECK(refused == 0);
	dapple_color_unref(color);
}

/* ---- NULL for each argument */
static void nulls(void) {
	FAILS(dapple_post(NULL, nothing, NULL), EINVAL);
	FAILS(dapple_post_shared(NULL, nothing, NULL), EINVAL);
	FAILS(dapple_try_post(NULL, nothing, NULL), EINVAL);
	FAILS(dapple_post_uncolored(NULL, nothing, NULL), EINVAL);
	FAILS(dapple_runtime_run(NULL), EINVAL);
	FAILS(dapple_runtime_turn(NULL, 0), EINVAL);
	FAILS(dapple_runtime_stop(NULL), EINVAL);
	FAILS(dapple_runtime_wait_idle(NULL), EINVAL);
	FAILS(dapple_runtime_free(NULL, 0), EINVAL);
	FAILS(dapple_runtime_poll_fd(NULL), EINVAL);
	FAILS(dapple_runtime_workers(NULL), EINVAL);
	IS_NULL(dapple_runtime_metrics(NULL), EINVAL);
	IS_NULL(dapple_runtime_report(NULL), EINVAL);
	IS_NULL(dapple_runtime_default_color(NULL), EINVAL);
	IS_NULL(dapple_domain_new(NULL, NULL, NULL, NULL, NULL), EINVAL);
	FAILS(dapple_token_renounce(NULL, 0), EINVAL);
	FAILS(dapple_token_defer(NULL, nothing, NULL), EINVAL);
	CHECK(dapple_color_is_current(NULL) == 0);
	rt = dapple_runtime_new(NULL);
	CHECK(rt && dapple_runtime_workers(rt) >= 1);
	dapple_color *color = color_of(NULL);
	FAILS(dapple_post(color, NULL, NULL), EINVAL);
	dapple_color_unref(color);
	end();
}

/* ---- a callback that runs long is reported, with the place that posted it */
static void takes_long(void *arg) { (void)arg; usleep(80000); }
static void stall(void) {
	dapple_options options = {.size = sizeof options, .workers = 2, .stall_ns = 10 * MS};
	rt = dapple_runtime_new(&options);
	dapple_color *color = color_of("sleepy");
	CHECK(!dapple_post(color, takes_long, NULL)); fprintf(stderr, "posted at line %d\n", __LINE__);
	CHECK(dapple_runtime_wait_idle(rt) == 0);
	dapple_color_unref(color);
	end();
}

PARTS(
	{"posts", posts}, {"shared", shared}, {"sets", sets}, {"uncolored", uncolored},
	{"options", options}, {"keys", keys}, {"timers", timers}, {"descriptors", descriptors},
	{"signals", signals}, {"offload", offload}, {"domains", domains}, {"tokens", tokens},
	{"renouncing", renouncing}, {"nesting", nesting}, {"drops", drops},
	{"offloaded", offloaded}, {"waiting", waiting}, {"forks", forks}, {"stopping", stopping},
	{"here", here}, {"shutdown", shutdown_}, {"nulls", nulls}, {"stall", stall}
);
int main(int argc, char **argv) {
	return run_part(argc, argv, parts);
}
