/* dapple_event.h: what libdapple_event adds to libevent: colors.
 *
 * Callbacks of one color never run at once, and run in order; callbacks of different colors run on
 * all cores. What has no color runs on the thread of the loop, as on libevent. See docs/LIBEVENT.md.
 *
 * With DAPPLE_OPTIONAL defined before, the functions are weak: a program that is linked to libevent
 * only finds null pointers, and tests for them. */
#ifndef DAPPLE_EVENT_H
#define DAPPLE_EVENT_H

#include <event2/event.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifdef DAPPLE_OPTIONAL
#define DAPPLE_API __attribute__((weak))
#else
#define DAPPLE_API
#endif

/* A color. Counted: it lives as long as somebody has a count, or an event has it, or something that
 * was posted to it has not run. It must not be used after its base has been freed. */
typedef struct dapple_color dapple_color;

/* A new color of a base, with one count for the caller. Colors with the same label, which names a
 * kind of work and may be NULL, share their figures. The first one of a base starts its workers.
 * NULL: there is no base, it does not use epoll, or the system refuses a thread. */
DAPPLE_API dapple_color *dapple_color_new(struct event_base *base, const char *label);

/* One count more; the color. NULL stays NULL. */
DAPPLE_API dapple_color *dapple_color_ref(dapple_color *color);

/* One count less. NULL is ignored. */
DAPPLE_API void dapple_color_unref(dapple_color *color);

/* The color of the callback that runs on this thread, without a count for the caller. NULL: it has
 * none, or no callback runs. */
DAPPLE_API dapple_color *dapple_color_current(void);

/* Has the callbacks of an event run on a color, of which it has a count from then on, until it gets
 * another one, is assigned anew, or is freed by event_free; NULL: on no color any more. 0: done;
 * -1: the event is added or active, has no base, or the color is of another base. */
DAPPLE_API int event_set_color(struct event *event, dapple_color *color);

/* Calls a function on a color, after what was posted to it before; the loop goes on at least until
 * it has returned. 0: done; -1: color or function is NULL. */
DAPPLE_API int dapple_post(dapple_color *color, void (*function)(void *), void *argument);

/* How many workers run what has a color, the thread of the loop included: from 1 to 1,024. By
 * default it is the number in the environment's DAPPLE_WORKERS, or one per core. 0: done; -1: there
 * is no base, its workers have started, or the number is another. */
DAPPLE_API int event_base_set_workers(struct event_base *base, int workers);

/* The figures of a base's workers as Prometheus reads them, to be freed with free(). NULL: the base
 * has no workers, or there is no memory. */
DAPPLE_API char *event_base_metrics(struct event_base *base);

#ifdef __cplusplus
}
#endif
#endif
