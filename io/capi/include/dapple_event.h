/* dapple_event.h: what libdapple_event adds to libevent: colors.
 *
 * Callbacks of one color never run at once, and run in order; callbacks of different colors run on
 * all cores. What has no color runs on the thread of the loop, as on libevent. A base's colors are
 * those of dapple.h, whose functions post to them, arm timers on them, and so on; all that keeps
 * the loop of the base running until it has been called or given up. See docs/LIBEVENT.md.
 *
 * Link -ldapple_event before -levent. This file is made of the sources in io/capi/src/event, and of
 * include/parts. */
#ifndef DAPPLE_EVENT_H
#define DAPPLE_EVENT_H

#include <dapple.h>
#include <event2/event.h>

struct bufferevent;
struct evconnlistener;


#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Says how many workers run what has a color, the thread of the loop included: from 1 to 1,024. By
 * default it is the number in the environment's DAPPLE_WORKERS, or one per core.
 *
 * 0: done. -1: errno is EINVAL if there is no base or the number is another, EALREADY if its
 * workers have started.
 */
DAPPLE_API int event_base_set_workers(struct event_base *base, int workers);

/**
 * Answers the figures of a base's workers as Prometheus reads them, a string to be freed with
 * free(). NULL: errno is EINVAL if there is no base or it has no workers, ENOMEM if there is no
 * memory.
 */
DAPPLE_API char *event_base_metrics(struct event_base *base);

/**
 * Answers the runtime of a base, for dapple_post_uncolored, dapple_domain_new and the like. The
 * loop runs it, and event_base_free frees it. The first color of a base, and this, start its
 * workers.
 *
 * NULL: errno is EINVAL if there is no base, ENOTSUP if it does not use epoll, ESHUTDOWN while it
 * is freed, or what the system says of a thread.
 */
DAPPLE_API dapple_runtime *event_base_runtime(struct event_base *base);

/**
 * Makes a color of a base, of which the caller has a count. Colors with the same label, which
 * names a kind of work and may be NULL, share their figures. It may outlive its base, whose end is
 * the runtime's: posts fail with ESHUTDOWN then.
 *
 * NULL: as event_base_runtime.
 */
DAPPLE_API dapple_color *dapple_color_new(struct event_base *base, const char *label);

/**
 * The color of a key, of which the caller has a count: equal bytes have one color, others have
 * other ones. See dapple_runtime_color_of_key.
 *
 * NULL: errno is EINVAL for a key that is NULL, or as event_base_runtime.
 */
DAPPLE_API
dapple_color *dapple_color_of_key(struct event_base *base,
                                  const void *key,
                                  size_t length);

/**
 * Has the callbacks of an event run on a color, of which it has a count from then on, until it
 * gets another one, is assigned anew, or is freed by event_free; NULL: on no color any more.
 *
 * 0: done. -1: errno is EBUSY if the event is added or active, EINVAL if it has no base or the
 * color is of another base.
 */
DAPPLE_API int event_set_color(struct event *event, dapple_color *color);

/**
 * Has what a bufferevent waits for, and its deferred callbacks, run on a color, of which it has a
 * count from then on; NULL: on no color any more. The other one of a pair, and what a filter or
 * TLS stands on, share the color: give it to the outermost one, when all are made.
 *
 * All of them must have been made with BEV_OPT_THREADSAFE, after evthread_use_pthreads(), and must
 * not be in a rate-limit group. With BEV_OPT_DEFER_CALLBACKS, all of the program's callbacks run
 * on the color. Without, libevent calls some of them at once, on the thread that gives cause for
 * it: bufferevent_trigger, a filter's in bufferevent_write, a failed look-up of a host's name.
 *
 * 0: done. -1: errno is EBUSY if a callback of it runs or is pending, EINVAL for a bufferevent
 * that is NULL, is not as said above, or has another base than the color, EIO if the system
 * refuses its descriptor: it has no color then, ENOTSUP without libevent's bufferevents.
 */
DAPPLE_API int bufferevent_set_color(struct bufferevent *bufferevent, dapple_color *color);

/**
 * Has the callbacks of a listener run on a color, of which it has a count from then on; NULL: on
 * no color any more. If another thread may use the listener, it needs LEV_OPT_THREADSAFE.
 *
 * 0: done. -1: errno is EINVAL for a listener that is NULL or has another base than the color,
 * EBUSY if a callback of it runs or is pending, EIO if the system refuses its descriptor, ENOTSUP
 * without libevent's listeners.
 */
DAPPLE_API int evconnlistener_set_color(struct evconnlistener *listener, dapple_color *color);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif
