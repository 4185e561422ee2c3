/* dapple.h: runtimes whose workers run callbacks on all cores.
 *
 * A callback has a color. Callbacks of one color never overlap, and run in the order in which they
 * were posted. Callbacks of different colors run on all cores. So data that only callbacks of one
 * color use needs no lock.
 *
 * Link with -ldapple_event; no other library is needed. libevent programs include dapple_event.h.
 *
 * Most functions return 0 on success, and -1 or NULL with errno set on failure; each lists the
 * values of errno. The name of a function that takes a callback ends with _from. Such a function
 * also takes a function that frees the callback's argument, and the file and line that reports
 * name. The macros at the end of this file pass NULL and the file and line of the call.
 *
 * A callback must return. A C++ exception, longjmp or pthread_exit must not leave it.
 *
 * This file is generated from io/capi/src/runtime and include/parts. */
#ifndef DAPPLE_H
#define DAPPLE_H

#include <stddef.h>
#include <stdint.h>

/* If DAPPLE_OPTIONAL is defined before this file is included, the functions are weak symbols: in a
 * program that is not linked to the library their addresses are null, and the program can test for
 * that. */
#ifdef DAPPLE_OPTIONAL
#define DAPPLE_API __attribute__((weak))
#else
#define DAPPLE_API
#endif


/**
 * A flag of a runtime: the calling thread becomes its first worker, and the default color is bound
 * to that thread.
 *
 * The thread runs callbacks while it is in dapple_runtime_run, dapple_runtime_turn,
 * dapple_runtime_wait_idle or dapple_runtime_free.
 */
#define DAPPLE_HERE 1

/**
 * A flag of a runtime: its workers may run on any core, instead of each on its own core.
 */
#define DAPPLE_UNPINNED 2

/**
 * The maximum number of workers of a runtime.
 */
#define DAPPLE_MOST_WORKERS 1024

/**
 * The priority of a color by default.
 */
#define DAPPLE_NORMAL 0

/**
 * The priority of colors whose callbacks run before those of other colors. The others still never
 * starve.
 */
#define DAPPLE_HIGH 1

/**
 * The priority of colors whose callbacks run when there is nothing else to run, and now and then
 * while there is. So they never starve.
 */
#define DAPPLE_LOW -1

/**
 * A flag of a color: its callbacks run only on the program's thread that is a worker of the
 * runtime.
 *
 * That is the thread that made the runtime with DAPPLE_HERE, or the thread of an event_base's
 * loop. The callbacks wait until that thread runs callbacks; see dapple_runtime_turn.
 */
#define DAPPLE_BOUND 1

/**
 * The maximum number of colors in a set.
 */
#define DAPPLE_MOST_COLORS 1024

/**
 * Bytes can be read, a connection can be accepted, or the peer has ended.
 */
#define DAPPLE_READABLE 1

/**
 * Bytes can be written, or a connection is established.
 */
#define DAPPLE_WRITABLE 2

/**
 * As an interest: the function is called when a readiness begins, and not again while it lasts.
 */
#define DAPPLE_EDGE 4

/**
 * In what a function is told: the peer has ended.
 */
#define DAPPLE_CLOSED 8

/**
 * In what a function is told: the descriptor has an error.
 */
#define DAPPLE_ERROR 16

/**
 * The context in which an event cannot use the state of its domain, and may overlap all other
 * events.
 */
#define DAPPLE_NONE 0

/**
 * The context in which an event reads the state, and may overlap others that read it.
 */
#define DAPPLE_ANON 1

/**
 * The context in which an event reads and writes the state, in the order of its domain.
 */
#define DAPPLE_GLOBAL 2

/**
 * A color: its callbacks never overlap, and run in the order in which they were posted.
 */
typedef struct dapple_color dapple_color;

/**
 * A state, and the events that are ordered by it.
 */
typedef struct dapple_domain dapple_domain;

/**
 * A runtime: workers that run callbacks on all cores.
 */
typedef struct dapple_runtime dapple_runtime;

/**
 * A timer that may be cancelled.
 */
typedef struct dapple_timer dapple_timer;

/**
 * An event of a domain while a step of it runs.
 *
 * It must not be kept after the step, or used on another thread.
 */
typedef struct dapple_token dapple_token;

/**
 * The registration of a function for a descriptor or a signal.
 */
typedef struct dapple_watch dapple_watch;

/**
 * The options of a runtime. If all fields but size are zero, the runtime has the defaults.
 */
typedef struct dapple_options {
    /**
     * sizeof(dapple_options).
     */
    size_t size;
    /**
     * The number of workers that run callbacks, including the calling thread with DAPPLE_HERE, up
     * to DAPPLE_MOST_WORKERS. 0 for the number in the environment variable DAPPLE_WORKERS, or one
     * per core.
     */
    uint32_t workers;
    /**
     * DAPPLE_HERE, DAPPLE_UNPINNED, both, or 0.
     */
    uint32_t flags;
    /**
     * The maximum number of threads for dapple_offload; 0 for four per worker, and at least eight.
     */
    uint32_t offload_threads;
    /**
     * The start of the names of the threads, or NULL.
     */
    const char *thread_name;
    /**
     * The time in nanoseconds after which a callback that still runs is reported on standard
     * error, with the label of its color and the place that posted it; 0 for no reports. With one
     * worker, only some of these callbacks are noticed, and only after they have ended.
     */
    uint64_t stall_ns;
} dapple_options;

/**
 * The options of a color. If all fields but size are zero, the color has the defaults.
 */
typedef struct dapple_color_options {
    /**
     * sizeof(dapple_color_options).
     */
    size_t size;
    /**
     * The name of a kind of work, or NULL. Colors with the same label share their metrics.
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
     * The number of events of the color at which dapple_try_post fails; 0 for no limit.
     */
    size_t capacity;
} dapple_color_options;

/**
 * A function of the program, which is called with the argument that was given with it.
 */
typedef void (*dapple_function)(void *argument);

/**
 * A color of a set, and the access to it that is needed.
 */
typedef struct dapple_access {
    /**
     * The color.
     */
    struct dapple_color *color;
    /**
     * 0 for exclusive access; any other number for access that is shared with others.
     */
    int shared;
} dapple_access;

/**
 * A function of the program, which is told what a descriptor is ready for, or the number of a
 * signal.
 */
typedef void (*dapple_watch_function)(int what, void *argument);

/**
 * A function that returns a copy of a state, which shares nothing with the original.
 */
typedef void *(*dapple_clone_function)(const void *state);

/**
 * A step of an event of a domain. It runs in a context, and may ask once for the next step.
 */
typedef void (*dapple_step_function)(struct dapple_token *token, void *argument);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Makes a runtime, and starts its threads.
 *
 * The options may be NULL, for the defaults.
 *
 * Returns NULL with errno set on failure: EINVAL if the options contain a size, number or flag
 * that dapple.h does not have, or the system's error if a thread or a descriptor cannot be made.
 */
DAPPLE_API struct dapple_runtime *dapple_runtime_new(const struct dapple_options *options);

/**
 * Ends a runtime, and frees it.
 *
 * From this call on, timers, descriptors and signals call nothing. What is queued runs for at most
 * limit_ns nanoseconds; what is left after that is dropped. If a callback runs at that time, the
 * function waits about 1 s more for it. The function that frees the argument of a watch may be
 * called here while a callback of its color runs. Colors, and the handles of timers, watches and
 * domains, stay valid, and are freed as usual.
 *
 * Returns 0 if everything has run. Returns 1 if something was dropped, or if a callback still
 * runs, which must not use the runtime any longer. Returns -1 with errno set, and then does
 * nothing: EINVAL if the runtime is NULL or that of an event_base, EDEADLK in a callback or in
 * offloaded work, EPERM on another thread than the one that made the runtime with DAPPLE_HERE. In
 * a forked child it only frees the child's copy.
 */
DAPPLE_API int dapple_runtime_free(struct dapple_runtime *runtime, uint64_t limit_ns);

/**
 * Runs callbacks until dapple_runtime_stop is called.
 *
 * It is for the thread that made the runtime with DAPPLE_HERE. In a runtime whose workers are all
 * threads of their own, it only waits until then.
 *
 * Returns 0 after it was stopped, or -1 with errno set: EINVAL if the runtime is NULL or that of
 * an event_base, EPERM on another thread, EDEADLK in a callback that cannot be suspended (see
 * dapple_runtime_turn), and in a runtime without DAPPLE_HERE in every callback and in offloaded
 * work, ECHILD in a forked child.
 */
DAPPLE_API int dapple_runtime_run(struct dapple_runtime *runtime);

/**
 * Makes dapple_runtime_run return.
 *
 * If dapple_runtime_run is not running, its next call returns at once. This function may be called
 * in callbacks and on every thread, but not in a signal handler.
 *
 * Returns 0, or -1 with errno set to EINVAL if the runtime is NULL or that of an event_base.
 */
DAPPLE_API int dapple_runtime_stop(struct dapple_runtime *runtime);

/**
 * Checks descriptors and timers, and runs callbacks for about 100 us.
 *
 * If there is nothing to run, it first waits for at most timeout_ns nanoseconds: 0 does not wait,
 * and -1 waits without a limit. It is for the thread that made the runtime with DAPPLE_HERE, in
 * programs that have a loop of their own.
 *
 * A callback of a color that is bound to the thread may call it. The callback is suspended
 * meanwhile, and others of its color may run.
 *
 * Returns 0 if nothing has run, otherwise the number of turns of colors plus the number of
 * functions without a color that it ran. Returns -1 with errno set on failure: EINVAL if the
 * runtime is NULL or was made without DAPPLE_HERE, EPERM on another thread, EDEADLK in any other
 * callback, ECHILD in a forked child.
 */
DAPPLE_API int dapple_runtime_turn(struct dapple_runtime *runtime, int64_t timeout_ns);

/**
 * Waits until no callback runs or is queued.
 *
 * Armed timers and idle descriptors do not count. The thread that made a runtime with DAPPLE_HERE
 * runs callbacks meanwhile.
 *
 * Returns 0, or -1 with errno set: EINVAL if the runtime is NULL or that of an event_base, EDEADLK
 * in a callback or in offloaded work, EPERM on another thread than the one that made the runtime
 * with DAPPLE_HERE, ECHILD in a forked child.
 */
DAPPLE_API int dapple_runtime_wait_idle(struct dapple_runtime *runtime);

/**
 * Returns a descriptor that is readable when dapple_runtime_turn has something to do.
 *
 * Another loop can wait for it, level-triggered, and for the time of dapple_runtime_deadline_ns.
 * The descriptor belongs to the runtime: neither read nor close it.
 *
 * Returns -1 with errno set on failure: EINVAL if the runtime is NULL or was made without
 * DAPPLE_HERE, EPERM on another thread.
 */
DAPPLE_API int dapple_runtime_poll_fd(struct dapple_runtime *runtime);

/**
 * Returns the number of nanoseconds after which dapple_runtime_turn is due at the latest.
 *
 * 0 means that it is due now. -1 means that it is not due before the descriptor of
 * dapple_runtime_poll_fd becomes readable, that the runtime is NULL or was made without
 * DAPPLE_HERE, or that this is not the thread that made it.
 */
DAPPLE_API int64_t dapple_runtime_deadline_ns(struct dapple_runtime *runtime);

/**
 * Returns the number of workers of a runtime.
 *
 * Returns -1 with errno set to EINVAL if the runtime is NULL.
 */
DAPPLE_API int dapple_runtime_workers(struct dapple_runtime *runtime);

/**
 * Returns the metrics of a runtime in the text format of Prometheus.
 *
 * The caller frees the string with free(). Returns NULL with errno set on failure: EINVAL if the
 * runtime is NULL, ENOMEM if there is no memory.
 */
DAPPLE_API char *dapple_runtime_metrics(struct dapple_runtime *runtime);

/**
 * Returns the metrics of a runtime as a table for people.
 *
 * The table says what runs and what waits, by label and by the place that posted it. The caller
 * frees the string with free(). Returns NULL with errno set on failure: EINVAL if the runtime is
 * NULL, ENOMEM if there is no memory.
 */
DAPPLE_API char *dapple_runtime_report(struct dapple_runtime *runtime);

/**
 * Makes a color of a runtime, and returns a reference to it.
 *
 * The options may be NULL, for the defaults. The reference is released by dapple_color_unref.
 *
 * Returns NULL with errno set to EINVAL if runtime is NULL, if the options contain a size,
 * priority or flag that dapple.h does not have, or for DAPPLE_BOUND in a runtime without a thread
 * of the program.
 */
DAPPLE_API
struct dapple_color *dapple_runtime_color_new(struct dapple_runtime *runtime,
                                              const struct dapple_color_options *options);

/**
 * Returns a reference to the default color of a runtime.
 *
 * In a runtime that was made with DAPPLE_HERE, the color is bound to the thread that made it.
 * Returns NULL with errno set to EINVAL if runtime is NULL.
 */
DAPPLE_API struct dapple_color *dapple_runtime_default_color(struct dapple_runtime *runtime);

/**
 * Returns a reference to the color of a key, and makes the color if there is none.
 *
 * Equal bytes have the same color, and different bytes have different colors. The color of a key
 * lives as long as there is a reference to it, or a function that was posted to it and has not
 * run. After that, the key takes no memory.
 *
 * Returns NULL with errno set to EINVAL if runtime is NULL, or if key is NULL and length is not 0.
 */
DAPPLE_API
struct dapple_color *dapple_runtime_color_of_key(struct dapple_runtime *runtime,
                                                 const void *key,
                                                 size_t length);

/**
 * Adds a reference to a color, and returns the color. NULL is returned as it is.
 */
DAPPLE_API struct dapple_color *dapple_color_ref(struct dapple_color *color);

/**
 * Releases a reference to a color. NULL is ignored.
 */
DAPPLE_API void dapple_color_unref(struct dapple_color *color);

/**
 * Returns the color of the callback that runs on this thread.
 *
 * The caller gets no reference. Returns NULL if the callback has no color or several, or if no
 * callback runs on this thread.
 */
DAPPLE_API struct dapple_color *dapple_color_current(void);

/**
 * Returns 1 if the callback that runs on this thread has the color, alone or among others;
 * otherwise 0.
 */
DAPPLE_API int dapple_color_is_current(const struct dapple_color *color);

/**
 * Calls a function on a color.
 *
 * It runs after what was posted to the color before, and never overlaps anything else of the
 * color. The argument is freed by drop, if that is not NULL, on the color: after the function, or
 * instead of it if the runtime ends first. dapple_post has no drop, and passes the place of the
 * call.
 *
 * Returns 0, or -1 with errno set, and then calls nothing: EINVAL if the color or the function is
 * NULL, ESHUTDOWN if the runtime has ended, ECHILD in a forked child.
 */
DAPPLE_API
int dapple_post_from(struct dapple_color *color,
                     dapple_function function,
                     void *argument,
                     dapple_function drop,
                     const char *file,
                     int line);

/**
 * Calls a function on a color, which it may share with others.
 *
 * Functions that were posted to the color this way, one right after the other, may run at the same
 * time on different cores. They overlap nothing else of the color. The argument and the errors are
 * those of dapple_post_from.
 */
DAPPLE_API
int dapple_post_shared_from(struct dapple_color *color,
                            dapple_function function,
                            void *argument,
                            dapple_function drop,
                            const char *file,
                            int line);

/**
 * Calls a function on a color, unless the color has as many events as its capacity allows.
 *
 * The capacity is a field of dapple_color_options. The argument is that of dapple_post_from.
 *
 * Returns 0, or -1 with errno set, and then calls nothing: EAGAIN if the color is full, otherwise
 * as dapple_post_from does.
 */
DAPPLE_API
int dapple_try_post_from(struct dapple_color *color,
                         dapple_function function,
                         void *argument,
                         dapple_function drop,
                         const char *file,
                         int line);

/**
 * Calls a function when it has access to several colors, each exclusive or shared.
 *
 * No thread waits meanwhile, and sets never wait for each other in a circle. A color that is named
 * twice counts once, with exclusive access if one of the two asks for it. The argument is freed by
 * drop, if that is not NULL, on these colors: after the function, or instead of it if the runtime
 * ends first. dapple_post_set has no drop.
 *
 * Returns 0, or -1 with errno set, and then calls nothing: EINVAL if the function or a color is
 * NULL, if there is no color, if there are more than DAPPLE_MOST_COLORS, or if they belong to
 * different runtimes; ESHUTDOWN if the runtime has ended, ECHILD in a forked child.
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
 * Calls a function without a color: at any time, on any thread of the runtime, while anything else
 * runs.
 *
 * The argument is freed by drop, if that is not NULL, after the function, or instead of it if the
 * runtime ends first. dapple_post_uncolored has no drop.
 *
 * Returns 0, or -1 with errno set, and then calls nothing: EINVAL if the runtime or the function
 * is NULL, ESHUTDOWN if the runtime has ended, ECHILD in a forked child.
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
 * If timer is not NULL, it gets a handle. The handle must be passed once to dapple_timer_cancel or
 * dapple_timer_free, even after the function has been called. The function may be called before
 * this call returns, unless the caller is a callback of the same color. The argument is freed by
 * drop, if that is not NULL, after the function or instead of it. dapple_post_after has no drop.
 *
 * Returns 0, or -1 with errno set, and then calls nothing: EINVAL if the color or the function is
 * NULL, ESHUTDOWN if the runtime has ended, ECHILD in a forked child.
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
 * Calls a function on a color every period_ns nanoseconds, until its timer is cancelled.
 *
 * Times that were missed are skipped. The handle and the argument are those of
 * dapple_post_after_from.
 *
 * Returns 0, or -1 with errno set, and then calls nothing: EINVAL if the color or the function is
 * NULL or the period is 0, ESHUTDOWN if the runtime has ended, ECHILD in a forked child.
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
 * Cancels a timer, and frees its handle.
 *
 * In a callback of the timer's own color the result is final. From elsewhere, a call that runs at
 * this moment goes on.
 *
 * Returns 1 if the function is not called, or is not called again. Returns 0 if it has been called
 * or is being called. Returns -1 with errno set to EINVAL if the timer is NULL.
 */
DAPPLE_API int dapple_timer_cancel(struct dapple_timer *timer);

/**
 * Frees the handle of a timer, which goes on. NULL is ignored.
 */
DAPPLE_API void dapple_timer_free(struct dapple_timer *timer);

/**
 * Calls a function on a color whenever a descriptor is ready.
 *
 * The function is called again and again as long as the descriptor is ready, with at most one call
 * queued. It gets the bits for what the descriptor is ready for, and the argument. It may be
 * called before this call returns, unless the caller is a callback of the same color.
 *
 * The descriptor stays the program's. It should be non-blocking, and must stay open until the
 * watch has ended. The argument is freed by drop, if that is not NULL, on the color, after the
 * watch has ended and the function no longer runs. dapple_on_ready has no drop.
 *
 * Returns NULL with errno set on failure, and then calls nothing: EINVAL if the color or the
 * function is NULL or interest is not an interest, EBADF if the descriptor is negative, ESHUTDOWN
 * if the runtime has ended, ECHILD in a forked child, or the system's error (EPERM for a regular
 * file).
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
 * Calls a function on a color whenever the process gets a signal.
 *
 * Signals that come before the function begins count as one. The function gets the number of the
 * signal, and the argument. The default action of the signal is no longer taken. The argument is
 * that of dapple_on_ready_from.
 *
 * Returns NULL with errno set on failure, and then calls nothing: EINVAL if the color or the
 * function is NULL or the number is not that of a signal that can be handled, ESHUTDOWN if the
 * runtime has ended, ECHILD in a forked child, or the system's error.
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
 * Pauses the watch of a descriptor: its function is not called until dapple_watch_resume.
 *
 * Returns 0, or -1 with errno set to EINVAL if the watch is NULL or that of a signal.
 */
DAPPLE_API int dapple_watch_pause(struct dapple_watch *watch);

/**
 * Ends the pause of a watch.
 *
 * If the descriptor is ready, its function is called. Returns 0, or -1 with errno set to EINVAL if
 * the watch is NULL or that of a signal.
 */
DAPPLE_API int dapple_watch_resume(struct dapple_watch *watch);

/**
 * Changes what the function of a descriptor is called for.
 *
 * Returns 0, or -1 with errno set to EINVAL if the watch is NULL or that of a signal, or if
 * interest is not an interest.
 */
DAPPLE_API int dapple_watch_set_interest(struct dapple_watch *watch, int interest);

/**
 * Ends a watch, and frees it. NULL is ignored.
 *
 * Its function is no longer called; only a call that runs at this moment on another thread goes
 * on. The descriptor may be closed in the drop function of the watch, or after this call in a
 * callback of its color.
 */
DAPPLE_API void dapple_watch_end(struct dapple_watch *watch);

/**
 * Calls work on a thread of the blocking pool, and after that calls then on a color.
 *
 * Both get the argument, and work may block. The argument is freed by drop, if that is not NULL,
 * on the color: after then, or instead of what has not begun when the runtime ends. dapple_offload
 * has no drop.
 *
 * Returns 0, or -1 with errno set, and then calls nothing: EINVAL if color, work or then is NULL,
 * ESHUTDOWN if the runtime has ended, ECHILD in a forked child.
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
 * Opens a domain with a state, which the domain owns from then on.
 *
 * When nobody can use the state any longer, free is called with it on any thread, if free is not
 * NULL. The label, which may be NULL, names the domain in reports.
 *
 * With clone, an event in anon keeps reading the state that it found when it entered, while later
 * events change a copy. The copy is made only if somebody still reads the original. If clone is
 * NULL, later events wait instead.
 *
 * Returns NULL with errno set to EINVAL if runtime is NULL.
 */
DAPPLE_API
struct dapple_domain *dapple_domain_new(struct dapple_runtime *runtime,
                                        void *state,
                                        dapple_clone_function clone,
                                        dapple_function free,
                                        const char *label);

/**
 * Gives up the caller's handle of a domain. NULL is ignored.
 *
 * The events of the domain still run, and then its state is freed.
 */
DAPPLE_API void dapple_domain_free(struct dapple_domain *domain);

/**
 * Posts an event to a domain.
 *
 * Its first step runs in none. It may later enter contexts up to highest, and a lower one delays
 * fewer other events. When a step returns without having asked for another one, the event commits.
 * Events commit in the order in which they were posted, and the functions that they have deferred
 * run then.
 *
 * The argument is freed by drop, if that is not NULL, after the step or instead of it.
 * dapple_domain_post has no drop.
 *
 * Returns 0, or -1 with errno set, and then calls nothing: EINVAL if the domain or the function is
 * NULL or highest is not a context, ESHUTDOWN if the runtime has ended, ECHILD in a forked child.
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
 * Returns the context in which the step runs.
 *
 * Returns -1 with errno set to EINVAL if the token is NULL.
 */
DAPPLE_API int dapple_token_context(const struct dapple_token *token);

/**
 * Returns the ticket of an event, which is its place in the order of the domain.
 *
 * It is lower than the tickets of all later events. Returns 0 if the token is NULL.
 */
DAPPLE_API uint64_t dapple_token_ticket(const struct dapple_token *token);

/**
 * Returns the state, which may be read until the step returns.
 *
 * Returns NULL with errno set on failure: EPERM if the event is in none, EINVAL if the token is
 * NULL.
 */
DAPPLE_API const void *dapple_token_state(const struct dapple_token *token);

/**
 * Returns the state, which may be read and written until the step returns.
 *
 * Returns NULL with errno set on failure: EPERM if the event is in none or anon, EINVAL if the
 * token is NULL.
 */
DAPPLE_API void *dapple_token_state_mut(struct dapple_token *token);

/**
 * Asks for the next step of the event, in a context, after this step has returned.
 *
 * The event may go from none to anon or global, from global to anon, or stay in its context. The
 * argument is freed by drop, if that is not NULL, after the function or instead of it.
 * dapple_token_enter has no drop.
 *
 * Returns 0, or -1 with errno set, and then calls nothing: EPERM if the event may not enter the
 * context, EALREADY if the step has asked before, EINVAL if the token or the function is NULL or
 * context is not a context.
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
 * Asks for the next step of an event in global, which has the domain to itself.
 *
 * The step runs after this one has returned, all earlier events have committed, and the functions
 * that this event has deferred have run. The argument is freed by drop, if that is not NULL, after
 * the function or instead of it. dapple_token_exclusive has no drop.
 *
 * Returns 0, or -1 with errno set, and then calls nothing: EPERM if the event is not in global,
 * EALREADY if the step has asked before, EINVAL if the token or the function is NULL.
 */
DAPPLE_API
int dapple_token_exclusive_from(struct dapple_token *token,
                                dapple_step_function function,
                                void *argument,
                                dapple_function drop,
                                const char *file,
                                int line);

/**
 * Has the event commit after this step has returned, and go on as a sub-event.
 *
 * The sub-event is an event with a new ticket. Its first step is the function, and it may enter
 * contexts up to highest. The argument is freed by drop, if that is not NULL, after the function
 * or instead of it. dapple_token_commit_then has no drop.
 *
 * Returns 0, or -1 with errno set, and then calls nothing: EALREADY if the step has asked before,
 * EINVAL if the token or the function is NULL or highest is not a context.
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
 * Defers a function until the event commits.
 *
 * It runs after the functions that earlier events have deferred, and cannot use the state. It is
 * for effects outside of the domain. The argument is freed by drop, if that is not NULL, after the
 * function or instead of it. dapple_token_defer has no drop.
 *
 * Returns 0, or -1 with errno set to EINVAL if the token or the function is NULL.
 */
DAPPLE_API
int dapple_token_defer_from(struct dapple_token *token,
                            dapple_function function,
                            void *argument,
                            dapple_function drop,
                            const char *file,
                            int line);

/**
 * Gives up the event's right to enter contexts above highest, so that later events need not wait
 * for it.
 *
 * It has no effect for an event in anon or global. Returns 0, or -1 with errno set: EALREADY if
 * the step has asked for another one, EINVAL if the token is NULL or highest is not a context.
 */
DAPPLE_API int dapple_token_renounce(struct dapple_token *token, int highest);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

/* The functions above, without a function that frees the argument, and with the file and line of
 * the call. */
#define DAPPLE_SITE __FILE__, __LINE__
#define dapple_post(color, function, argument) \
    dapple_post_from(color, function, argument, NULL, DAPPLE_SITE)
#define dapple_post_shared(color, function, argument) \
    dapple_post_shared_from(color, function, argument, NULL, DAPPLE_SITE)
#define dapple_try_post(color, function, argument) \
    dapple_try_post_from(color, function, argument, NULL, DAPPLE_SITE)
#define dapple_post_set(accesses, number, function, argument) \
    dapple_post_set_from(accesses, number, function, argument, NULL, DAPPLE_SITE)
#define dapple_post_uncolored(runtime, function, argument) \
    dapple_post_uncolored_from(runtime, function, argument, NULL, DAPPLE_SITE)
#define dapple_post_after(color, delay_ns, function, argument, timer) \
    dapple_post_after_from(color, delay_ns, function, argument, NULL, timer, DAPPLE_SITE)
#define dapple_every(color, period_ns, function, argument, timer) \
    dapple_every_from(color, period_ns, function, argument, NULL, timer, DAPPLE_SITE)
#define dapple_on_ready(color, descriptor, interest, function, argument) \
    dapple_on_ready_from(color, descriptor, interest, function, argument, NULL, DAPPLE_SITE)
#define dapple_on_signal(color, signal, function, argument) \
    dapple_on_signal_from(color, signal, function, argument, NULL, DAPPLE_SITE)
#define dapple_offload(color, work, then, argument) \
    dapple_offload_from(color, work, then, argument, NULL, DAPPLE_SITE)
#define dapple_domain_post(domain, highest, function, argument) \
    dapple_domain_post_from(domain, highest, function, argument, NULL, DAPPLE_SITE)
#define dapple_token_enter(token, context, function, argument) \
    dapple_token_enter_from(token, context, function, argument, NULL, DAPPLE_SITE)
#define dapple_token_exclusive(token, function, argument) \
    dapple_token_exclusive_from(token, function, argument, NULL, DAPPLE_SITE)
#define dapple_token_commit_then(token, highest, function, argument) \
    dapple_token_commit_then_from(token, highest, function, argument, NULL, DAPPLE_SITE)
#define dapple_token_defer(token, function, argument) \
    dapple_token_defer_from(token, function, argument, NULL, DAPPLE_SITE)

#endif
