/* dapple.h: runtimes whose workers run callbacks on all cores.
 *
 * A callback has a color: callbacks of one color never run at once, and run in order; callbacks of
 * different colors run on all cores. So data that only callbacks of one color touch needs no lock.
 *
 * Link -ldapple_event; no other library is needed. Programs of libevent include dapple_event.h.
 *
 * Most functions answer 0, or -1 or NULL with errno, and say which. Functions that take a callback
 * end with _from, and also take what frees the argument, and the place in the program that reports
 * and traces name; the macros at the end of this file fill in NULL and the place of the call. A
 * callback must return: it must not be left by an exception of C++, longjmp or pthread_exit.
 *
 * This file is made of the sources in io/capi/src/runtime, and of include/parts. */
#ifndef DAPPLE_H
#define DAPPLE_H

#include <stddef.h>
#include <stdint.h>

/* With DAPPLE_OPTIONAL defined before, the functions are weak: a program that is not linked to the
 * library finds null pointers, and tests for them. */
#ifdef DAPPLE_OPTIONAL
#define DAPPLE_API __attribute__((weak))
#else
#define DAPPLE_API
#endif


/**
 * The calling thread becomes the first worker of the runtime, and the default color is bound to
 * it. It works while it is in dapple_runtime_run, _turn, _wait_idle or _free.
 */
#define DAPPLE_HERE 1

/**
 * The workers may run on any core, instead of one each.
 */
#define DAPPLE_UNPINNED 2

/**
 * The most workers of a runtime.
 */
#define DAPPLE_MOST_WORKERS 1024

/**
 * The class of a color by default.
 */
#define DAPPLE_NORMAL 0

/**
 * Events of such colors run before others. Others never starve.
 */
#define DAPPLE_HIGH 1

/**
 * Events of such colors run when there is nothing else, and now and then.
 */
#define DAPPLE_LOW -1

/**
 * Events of the color run on the thread of a runtime that was made with DAPPLE_HERE, and wait for
 * it; see dapple_runtime_turn.
 */
#define DAPPLE_BOUND 1

/**
 * The most colors of a set.
 */
#define DAPPLE_MOST_COLORS 1024

/**
 * Bytes can be read, a connection can be accepted, or the other side has ended.
 */
#define DAPPLE_READABLE 1

/**
 * Bytes can be written, or a connection is made.
 */
#define DAPPLE_WRITABLE 2

/**
 * As an interest: the function is called when that begins, and not again as long as it stays.
 */
#define DAPPLE_EDGE 4

/**
 * As what a function is told: the other side has ended.
 */
#define DAPPLE_CLOSED 8

/**
 * As what a function is told: the descriptor has an error.
 */
#define DAPPLE_ERROR 16

/**
 * The context in which an event sees nothing of its domain, and runs beside everything.
 */
#define DAPPLE_NONE 0

/**
 * The context in which an event reads the state, beside others.
 */
#define DAPPLE_ANON 1

/**
 * The context in which an event reads and writes the state, in the order of its domain.
 */
#define DAPPLE_GLOBAL 2

/**
 * A color: callbacks of one color never run at once, and run in order.
 */
typedef struct dapple_color dapple_color;

/**
 * A state, and the events that are ordered by it.
 */
typedef struct dapple_domain dapple_domain;

/**
 * Workers that run callbacks on all cores.
 */
typedef struct dapple_runtime dapple_runtime;

/**
 * A timer that may be cancelled.
 */
typedef struct dapple_timer dapple_timer;

/**
 * An event of a domain while a step of it runs. It must not be kept, or used on another thread.
 */
typedef struct dapple_token dapple_token;

/**
 * A function that waits for a descriptor, or for a signal.
 */
typedef struct dapple_watch dapple_watch;

/**
 * What a runtime is to be. All zeroes but for the size: what it is by default.
 */
typedef struct dapple_options {
    /**
     * sizeof(dapple_options).
     */
    size_t size;
    /**
     * How many workers run callbacks, the calling thread included if it is one: up to
     * DAPPLE_MOST_WORKERS. 0: as many as the environment's DAPPLE_WORKERS says, or one per core.
     */
    uint32_t workers;
    /**
     * DAPPLE_HERE, DAPPLE_UNPINNED, or 0.
     */
    uint32_t flags;
    /**
     * How many threads there are for dapple_offload at most; 0: as many as by default.
     */
    uint32_t offload_threads;
    /**
     * What the names of the threads begin with, or NULL.
     */
    const char *thread_name;
    /**
     * After how many nanoseconds a callback that still runs is written to standard error, with its
     * color's label and the place that posted it; 0: never. Of a runtime with one worker, only
     * some are noticed, and when they have ended.
     */
    uint64_t stall_ns;
} dapple_options;

/**
 * What a color is to be. All zeroes but for the size: what a color is by default.
 */
typedef struct dapple_color_options {
    /**
     * sizeof(dapple_color_options).
     */
    size_t size;
    /**
     * The kind of work, or NULL. Colors with the same label share their figures.
     */
    const char *label;
    /**
     * DAPPLE_NORMAL, DAPPLE_HIGH or DAPPLE_LOW.
     */
    int priority;
    /**
     * DAPPLE_BOUND, or 0.
     */
    uint32_t flags;
    /**
     * How many events it may have before dapple_try_post is refused; 0: any number.
     */
    size_t capacity;
} dapple_color_options;

/**
 * A function that is called with the argument that was given with it.
 */
typedef void (*dapple_function)(void *argument);

/**
 * A color of a set, and how it is needed.
 */
typedef struct dapple_access {
    /**
     * The color.
     */
    struct dapple_color *color;
    /**
     * 0: alone; otherwise beside others that share it.
     */
    int shared;
} dapple_access;

/**
 * A function that is told what a descriptor is ready for, or which signal has come.
 */
typedef void (*dapple_watch_function)(int what, void *argument);

/**
 * Makes a copy of a state, which shares nothing with it.
 */
typedef void *(*dapple_clone_function)(const void *state);

/**
 * A step of an event of a domain: it runs in a context, and may ask, once, for what comes next.
 */
typedef void (*dapple_step_function)(struct dapple_token *token, void *argument);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Makes a runtime, as options say, which may be NULL, and starts its threads.
 *
 * NULL: errno is EINVAL for a size, number or flag that dapple.h does not have, or what the system
 * says of a thread or a descriptor.
 */
DAPPLE_API struct dapple_runtime *dapple_runtime_new(const struct dapple_options *options);

/**
 * Ends a runtime, and frees it. Timers, descriptors and signals call nothing any more. What is
 * queued runs within a limit of nanoseconds; what is left then is dropped. A callback that runs
 * then is waited for, for about a second more. What frees the argument of a watch may be called
 * beside a callback of its color here. Colors, and the handles of timers, watches and domains, are
 * still there, and are freed as before.
 *
 * 0: all has run. 1: something was dropped, or a callback still runs, which must not use the
 * runtime any more. -1: nothing has been done; errno is EINVAL for the runtime of an event_base,
 * EDEADLK in a callback or in offloaded work, EPERM on another thread than the one that made the
 * runtime with DAPPLE_HERE. A forked child may free its copy, which does nothing.
 */
DAPPLE_API int dapple_runtime_free(struct dapple_runtime *runtime, uint64_t limit_ns);

/**
 * Runs callbacks until dapple_runtime_stop is called, on the thread that made the runtime with
 * DAPPLE_HERE; in other runtimes, whose workers are threads of their own, waits until then.
 *
 * 0: it was stopped. -1: errno is EINVAL for the runtime of an event_base, EPERM on another
 * thread, EDEADLK in a callback that cannot be suspended (see dapple_runtime_turn), ECHILD in a
 * forked child.
 */
DAPPLE_API int dapple_runtime_run(struct dapple_runtime *runtime);

/**
 * Makes dapple_runtime_run return. If it does not run at the moment, its next call returns at
 * once. This may be called in callbacks and on every thread, but not in the handler of a signal.
 *
 * 0: done. -1: errno is EINVAL for NULL and for the runtime of an event_base.
 */
DAPPLE_API int dapple_runtime_stop(struct dapple_runtime *runtime);

/**
 * Looks at descriptors and timers, and runs callbacks for about 100 us. If there is nothing to
 * run, it first waits for timeout_ns nanoseconds at most (0: not at all; -1: without limit). It is
 * for the thread that made the runtime with DAPPLE_HERE, in programs that have a loop of their
 * own.
 *
 * A callback of a color that is bound to the thread may call it: the callback is suspended
 * meanwhile, and others of its color may run.
 *
 * The answer is a measure of what has run, 0 for nothing. -1: errno is EINVAL for a runtime
 * without DAPPLE_HERE, EPERM on another thread, EDEADLK in another callback, ECHILD in a forked
 * child.
 */
DAPPLE_API int dapple_runtime_turn(struct dapple_runtime *runtime, int64_t timeout_ns);

/**
 * Waits until no callback runs or is queued; armed timers and quiet descriptors do not count. The
 * thread that made a runtime with DAPPLE_HERE runs callbacks meanwhile.
 *
 * 0: done. -1: errno is EINVAL for the runtime of an event_base, EDEADLK in a callback or in
 * offloaded work, EPERM on another thread, ECHILD in a forked child.
 */
DAPPLE_API int dapple_runtime_wait_idle(struct dapple_runtime *runtime);

/**
 * Answers the descriptor that is readable when dapple_runtime_turn has something to do, for
 * another loop to wait for beside dapple_runtime_deadline_ns: until it is readable, not for an
 * edge. It is the runtime's: neither read nor close it.
 *
 * -1: errno is EINVAL for a runtime without DAPPLE_HERE, EPERM on another thread.
 */
DAPPLE_API int dapple_runtime_poll_fd(struct dapple_runtime *runtime);

/**
 * Answers in how many nanoseconds the next dapple_runtime_turn is due at the latest; 0: now; -1:
 * not before the descriptor becomes readable, or the runtime has no DAPPLE_HERE or is another
 * thread's.
 */
DAPPLE_API int64_t dapple_runtime_deadline_ns(struct dapple_runtime *runtime);

/**
 * Answers how many workers a runtime has. -1: errno is EINVAL for NULL.
 */
DAPPLE_API int dapple_runtime_workers(struct dapple_runtime *runtime);

/**
 * Answers the figures of a runtime as Prometheus reads them, a string to be freed with free().
 * NULL: errno is EINVAL for NULL, ENOMEM if there is no memory.
 */
DAPPLE_API char *dapple_runtime_metrics(struct dapple_runtime *runtime);

/**
 * Answers the figures of a runtime as a table for people: what runs and what waits, by label and
 * by the place that posted it. It is a string to be freed with free(). NULL: errno is EINVAL for
 * NULL, ENOMEM if there is no memory.
 */
DAPPLE_API char *dapple_runtime_report(struct dapple_runtime *runtime);

/**
 * Makes a color of a runtime, as options say, which may be NULL. The caller has a count of it.
 *
 * NULL: errno is EINVAL for a size, number or flag that dapple.h does not have, or DAPPLE_BOUND
 * where the runtime has no thread of the program's.
 */
DAPPLE_API
struct dapple_color *dapple_runtime_color_new(struct dapple_runtime *runtime,
                                              const struct dapple_color_options *options);

/**
 * The default color of a runtime, of which the caller has a count. In a runtime that was made with
 * DAPPLE_HERE it is bound to the thread that made it.
 */
DAPPLE_API struct dapple_color *dapple_runtime_default_color(struct dapple_runtime *runtime);

/**
 * The color of a key, of which the caller has a count: equal bytes have one color, others have
 * other ones. A key's color lives as long as somebody has a count of it or something posted to it
 * has not run; then the key takes no memory any more.
 *
 * NULL: errno is EINVAL for a null pointer.
 */
DAPPLE_API
struct dapple_color *dapple_runtime_color_of_key(struct dapple_runtime *runtime,
                                                 const void *key,
                                                 size_t length);

/**
 * One count more; answers the color. NULL stays NULL.
 */
DAPPLE_API struct dapple_color *dapple_color_ref(struct dapple_color *color);

/**
 * One count less. NULL is ignored.
 */
DAPPLE_API void dapple_color_unref(struct dapple_color *color);

/**
 * The color of the callback that runs on this thread, without a count for the caller. NULL: it has
 * none or several, or no callback runs.
 */
DAPPLE_API struct dapple_color *dapple_color_current(void);

/**
 * 1 if the callback that runs on this thread has the color, alone or among others; otherwise 0.
 */
DAPPLE_API int dapple_color_is_current(const struct dapple_color *color);

/**
 * Calls a function on a color, after what was posted to it before, and not at the same time as
 * anything else of it.
 *
 * The argument is freed by drop, if that is not NULL: on the color, after the function, or instead
 * of it if the runtime ends first. dapple_post has no drop, and names the place of the call.
 *
 * 0: done. -1: nothing is called; errno is EINVAL for a color or function that is NULL, ESHUTDOWN
 * when the runtime has ended, ECHILD in a forked child.
 */
DAPPLE_API
int dapple_post_from(struct dapple_color *color,
                     dapple_function function,
                     void *argument,
                     dapple_function drop,
                     const char *file,
                     int line);

/**
 * Calls a function on a color that others may share with it: functions that were posted so, one
 * behind the other, may run at once, on all cores, but beside nothing else of the color.
 *
 * As dapple_post_from otherwise.
 */
DAPPLE_API
int dapple_post_shared_from(struct dapple_color *color,
                            dapple_function function,
                            void *argument,
                            dapple_function drop,
                            const char *file,
                            int line);

/**
 * Calls a function on a color unless that has as many events as it may: see capacity in
 * dapple_color_options.
 *
 * 0: done. -1: nothing is called; errno is EAGAIN if the color is full, or as in dapple_post_from.
 */
DAPPLE_API
int dapple_try_post_from(struct dapple_color *color,
                         dapple_function function,
                         void *argument,
                         dapple_function drop,
                         const char *file,
                         int line);

/**
 * Calls a function when it has several colors, each alone or shared. No thread waits meanwhile,
 * and sets never wait for each other in a circle. A color that is named twice counts once, alone
 * if one of them says so.
 *
 * The argument is freed on these colors; as dapple_post_from otherwise. EINVAL also: there is no
 * color, there are more than DAPPLE_MOST_COLORS, or they are of several runtimes.
 */
DAPPLE_API
int dapple_post_set_from(const struct dapple_access *accesses,
                         size_t number,
                         dapple_function function,
                         void *argument,
                         dapple_function drop,
                         const char *file,
                         int line);

/**
 * Calls a function on no color: at any time, on any thread of the runtime, beside anything.
 *
 * As dapple_post_from otherwise.
 */
DAPPLE_API
int dapple_post_uncolored_from(struct dapple_runtime *runtime,
                               dapple_function function,
                               void *argument,
                               dapple_function drop,
                               const char *file,
                               int line);

/**
 * Calls a function on a color after delay_ns nanoseconds, never earlier.
 *
 * If timer is not NULL, it gets a handle, which must be given to dapple_timer_cancel or
 * dapple_timer_free, once, also after the function has been called. The argument is freed by drop,
 * if that is not NULL: after the function, or instead of it. dapple_post_after has no drop. The
 * function may be called before this returns, unless the caller is a callback of the color itself.
 *
 * 0: done. -1: nothing is called; errno is EINVAL for a color or function that is NULL, ESHUTDOWN
 * when the runtime has ended, ECHILD in a forked child.
 */
DAPPLE_API
int dapple_post_after_from(struct dapple_color *color,
                           uint64_t delay_ns,
                           dapple_function function,
                           void *argument,
                           dapple_function drop,
                           struct dapple_timer **timer,
                           const char *file,
                           int line);

/**
 * Calls a function on a color every period_ns nanoseconds, until its timer is cancelled. Times
 * that were missed are skipped.
 *
 * As dapple_post_after_from otherwise. EINVAL also: the period is 0.
 */
DAPPLE_API
int dapple_every_from(struct dapple_color *color,
                      uint64_t period_ns,
                      dapple_function function,
                      void *argument,
                      dapple_function drop,
                      struct dapple_timer **timer,
                      const char *file,
                      int line);

/**
 * Cancels a timer, and frees its handle. In a callback of the timer's own color the answer is
 * final; from elsewhere, a function that runs at this moment goes on.
 *
 * 1: the function is not called, or not any more. 0: it has been called, or is being called. -1:
 * errno is EINVAL for NULL.
 */
DAPPLE_API int dapple_timer_cancel(struct dapple_timer *timer);

/**
 * Frees the handle of a timer, which goes on. NULL is ignored.
 */
DAPPLE_API void dapple_timer_free(struct dapple_timer *timer);

/**
 * Calls a function on a color when a descriptor is ready: again and again as long as it is, with
 * one call queued at most. The function gets what the descriptor is ready for, and the argument.
 *
 * The descriptor stays the program's: it should not block, and must stay open until the watch has
 * ended. The argument is freed by drop, if that is not NULL, on the color, when the watch has
 * ended and the function does not run any more. dapple_on_ready has no drop. The function may be
 * called before this returns, unless the caller is a callback of the color itself.
 *
 * NULL: nothing is called; errno is EINVAL for a color or function that is NULL or a number that
 * is no interest, ESHUTDOWN when the runtime has ended, ECHILD in a forked child, or what the
 * system says (EPERM: a regular file).
 */
DAPPLE_API
struct dapple_watch *dapple_on_ready_from(struct dapple_color *color,
                                          int descriptor,
                                          int interest,
                                          dapple_watch_function function,
                                          void *argument,
                                          dapple_function drop,
                                          const char *file,
                                          int line);

/**
 * Calls a function on a color when the process gets a signal. Signals that come before the
 * function begins are one. The function gets the number of the signal, and the argument. What the
 * process does by default it does not do any more.
 *
 * As dapple_on_ready_from otherwise. EINVAL also: it is no signal, or one that cannot be handled.
 */
DAPPLE_API
struct dapple_watch *dapple_on_signal_from(struct dapple_color *color,
                                           int signal,
                                           dapple_watch_function function,
                                           void *argument,
                                           dapple_function drop,
                                           const char *file,
                                           int line);

/**
 * Has the function of a descriptor not called any more, until dapple_watch_resume.
 *
 * 0: done. -1: errno is EINVAL for NULL, and for a signal's watch.
 */
DAPPLE_API int dapple_watch_pause(struct dapple_watch *watch);

/**
 * Has the function of a descriptor called again. What came meanwhile is told.
 *
 * 0: done. -1: errno is EINVAL for NULL, and for a signal's watch.
 */
DAPPLE_API int dapple_watch_resume(struct dapple_watch *watch);

/**
 * Has the function of a descriptor called for something else.
 *
 * 0: done. -1: errno is EINVAL for NULL, for a signal's watch, and for a number that is no
 * interest.
 */
DAPPLE_API int dapple_watch_set_interest(struct dapple_watch *watch, int interest);

/**
 * Ends a watch, and frees it: its function is no longer called, but for a call that runs at
 * this moment on another thread. The descriptor may be closed in the drop of the watch, and in a
 * callback of its color. NULL is ignored.
 */
DAPPLE_API void dapple_watch_end(struct dapple_watch *watch);

/**
 * Calls work with the argument on a thread that may block, and when that has returned, then with
 * the argument on a color.
 *
 * The argument is freed by drop, if that is not NULL: on the color, after then, or instead of what
 * has not begun when the runtime ends. dapple_offload has no drop.
 *
 * 0: done. -1: nothing is called; errno is EINVAL for a color, work or then that is NULL,
 * ESHUTDOWN when the runtime has ended, ECHILD in a forked child.
 */
DAPPLE_API
int dapple_offload_from(struct dapple_color *color,
                        dapple_function work,
                        dapple_function then,
                        void *argument,
                        dapple_function drop,
                        const char *file,
                        int line);

/**
 * Opens a domain with a state, which is the domain's from then on: free is called with it, if that
 * is not NULL, when nobody can use it any more, on any thread.
 *
 * With clone, events in anon read the state that they have come upon while later events change a
 * copy, which is made only if somebody still reads. Without, that is NULL, later events wait. The
 * label, which may be NULL, names the domain in reports.
 *
 * NULL: errno is EINVAL for a runtime that is NULL.
 */
DAPPLE_API
struct dapple_domain *dapple_domain_new(struct dapple_runtime *runtime,
                                        void *state,
                                        dapple_clone_function clone,
                                        dapple_function free,
                                        const char *label);

/**
 * Gives a domain up: its events still run, and then its state is freed. NULL is ignored.
 */
DAPPLE_API void dapple_domain_free(struct dapple_domain *domain);

/**
 * Posts an event to a domain. Its first step runs in none; up to which context it may go is said
 * here, and an event that says less holds fewer others up. When a step has returned without asking
 * for another one, the event commits. Events commit in the order in which they were posted, and
 * what they have deferred runs then.
 *
 * The argument is freed by drop, if that is not NULL: after the step, or instead of it.
 *
 * 0: done. -1: nothing is called; errno is EINVAL for a domain or step that is NULL or a number
 * that is no context, ESHUTDOWN when the runtime has ended, ECHILD in a forked child.
 */
DAPPLE_API
int dapple_domain_post_from(struct dapple_domain *domain,
                            int highest,
                            dapple_step_function function,
                            void *argument,
                            dapple_function drop,
                            const char *file,
                            int line);

/**
 * The context in which a step runs. -1: errno is EINVAL for NULL.
 */
DAPPLE_API int dapple_token_context(const struct dapple_token *token);

/**
 * The place of an event in the order of its domain: it is lower than that of each later event. 0
 * for NULL.
 */
DAPPLE_API uint64_t dapple_token_ticket(const struct dapple_token *token);

/**
 * The state, to be read until the step returns. NULL: errno is EPERM for an event in none, EINVAL
 * for NULL.
 */
DAPPLE_API const void *dapple_token_state(const struct dapple_token *token);

/**
 * The state, to be read and written until the step returns. NULL: errno is EPERM for an event in
 * none or anon, EINVAL for NULL.
 */
DAPPLE_API void *dapple_token_state_mut(struct dapple_token *token);

/**
 * Has a step run in a context when this one has returned: from none to anon or global, from global
 * to anon, or where the event is.
 *
 * 0: done. -1: nothing is called; errno is EPERM for a step that is not legal, EALREADY if the
 * step has asked before, EINVAL for a token or step that is NULL or a number that is no context.
 */
DAPPLE_API
int dapple_token_enter_from(struct dapple_token *token,
                            int context,
                            dapple_step_function function,
                            void *argument,
                            dapple_function drop,
                            const char *file,
                            int line);

/**
 * Has a step of an event in global run, when this one has returned, after all earlier events have
 * committed and what this one has deferred has run, with the domain to itself.
 *
 * As dapple_token_enter_from otherwise.
 */
DAPPLE_API
int dapple_token_exclusive_from(struct dapple_token *token,
                                dapple_step_function function,
                                void *argument,
                                dapple_function drop,
                                const char *file,
                                int line);

/**
 * Commits the event when the step has returned, and goes on with a sub-event: an event with a new
 * ticket, which may go up to a context.
 *
 * As dapple_token_enter_from otherwise; every context is legal.
 */
DAPPLE_API
int dapple_token_commit_then_from(struct dapple_token *token,
                                  int highest,
                                  dapple_step_function function,
                                  void *argument,
                                  dapple_function drop,
                                  const char *file,
                                  int line);

/**
 * Has a function called when the event commits, after what earlier events have deferred, outside
 * of the state: what the event does to the outside.
 *
 * The argument is freed by drop, if that is not NULL: after the function, or instead of it. 0:
 * done. -1: errno is EINVAL for a token or function that is NULL.
 */
DAPPLE_API
int dapple_token_defer_from(struct dapple_token *token,
                            dapple_function function,
                            void *argument,
                            dapple_function drop,
                            const char *file,
                            int line);

/**
 * Gives up the right to go higher than a context, so that later events need not wait. It changes
 * nothing for an event in anon or global.
 *
 * 0: done. -1: errno is EALREADY if the step has asked for another one, EINVAL for a token that is
 * NULL or a number that is no context.
 */
DAPPLE_API int dapple_token_renounce(struct dapple_token *token, int highest);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

/* The functions above without what frees the argument, and with the place of the call. */
#define DAPPLE_PLACE __FILE__, __LINE__
#define dapple_post(color, function, argument) \
    dapple_post_from(color, function, argument, NULL, DAPPLE_PLACE)
#define dapple_post_shared(color, function, argument) \
    dapple_post_shared_from(color, function, argument, NULL, DAPPLE_PLACE)
#define dapple_try_post(color, function, argument) \
    dapple_try_post_from(color, function, argument, NULL, DAPPLE_PLACE)
#define dapple_post_set(accesses, number, function, argument) \
    dapple_post_set_from(accesses, number, function, argument, NULL, DAPPLE_PLACE)
#define dapple_post_uncolored(runtime, function, argument) \
    dapple_post_uncolored_from(runtime, function, argument, NULL, DAPPLE_PLACE)
#define dapple_post_after(color, delay_ns, function, argument, timer) \
    dapple_post_after_from(color, delay_ns, function, argument, NULL, timer, DAPPLE_PLACE)
#define dapple_every(color, period_ns, function, argument, timer) \
    dapple_every_from(color, period_ns, function, argument, NULL, timer, DAPPLE_PLACE)
#define dapple_on_ready(color, descriptor, interest, function, argument) \
    dapple_on_ready_from(color, descriptor, interest, function, argument, NULL, DAPPLE_PLACE)
#define dapple_on_signal(color, signal, function, argument) \
    dapple_on_signal_from(color, signal, function, argument, NULL, DAPPLE_PLACE)
#define dapple_offload(color, work, then, argument) \
    dapple_offload_from(color, work, then, argument, NULL, DAPPLE_PLACE)
#define dapple_domain_post(domain, highest, function, argument) \
    dapple_domain_post_from(domain, highest, function, argument, NULL, DAPPLE_PLACE)
#define dapple_token_enter(token, context, function, argument) \
    dapple_token_enter_from(token, context, function, argument, NULL, DAPPLE_PLACE)
#define dapple_token_exclusive(token, function, argument) \
    dapple_token_exclusive_from(token, function, argument, NULL, DAPPLE_PLACE)
#define dapple_token_commit_then(token, highest, function, argument) \
    dapple_token_commit_then_from(token, highest, function, argument, NULL, DAPPLE_PLACE)
#define dapple_token_defer(token, function, argument) \
    dapple_token_defer_from(token, function, argument, NULL, DAPPLE_PLACE)

#endif
