/* dapple_event.h: the colors that libdapple_event adds to libevent.
 *
 * Callbacks of one color never overlap, and run in order. Callbacks of different colors run on all
 * cores. An event without a color runs on the thread of the loop, as on libevent.
 *
 * The colors of a base are those of dapple.h. The functions of dapple.h post to them, arm timers on
 * them, and so on. A post, a timer or a watch keeps the loop of the base running until its function
 * has been called, or it has been cancelled or ended. See docs/LIBEVENT.md.
 *
 * Link with -ldapple_event before -levent. This file is generated from io/capi/src/event and
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
 * Sets the number of workers that run the callbacks with a color.
 *
 * The number includes the thread of the loop, and is from 1 to 1,024. The default is the value of
 * the environment variable DAPPLE_WORKERS, or one worker per core.
 *
 * Returns 0, or -1 with errno set: EINVAL if there is no base or the number is out of range,
 * EALREADY if the workers have started.
 */
DAPPLE_API int event_base_set_workers(struct event_base *base, int workers);

/**
 * Returns the metrics of a base's workers in the text format of Prometheus.
 *
 * The caller frees the string with free(). Returns NULL with errno set on failure: EINVAL if there
 * is no base or it has no workers, ENOMEM if there is no memory.
 */
DAPPLE_API char *event_base_metrics(struct event_base *base);

/**
 * Returns the runtime of a base, for dapple_post_uncolored, dapple_domain_new and the like.
 *
 * The loop of the base runs it, and event_base_free frees it. The first color of a base, or the
 * first call of this function, starts the workers.
 *
 * Returns NULL with errno set on failure: EINVAL if there is no base, ENOTSUP if the base does not
 * use epoll, ESHUTDOWN while the base is being freed, or the system's error if a thread cannot be
 * started.
 */
DAPPLE_API dapple_runtime *event_base_runtime(struct event_base *base);

/**
 * Makes a color of a base, and returns a reference to it.
 *
 * The label names a kind of work, and may be NULL; colors with the same label share their metrics.
 * The color may outlive its base. The runtime ends with the base: after that, posts to the color
 * fail with ESHUTDOWN.
 *
 * Returns NULL on failure, with errno set as by event_base_runtime.
 */
DAPPLE_API dapple_color *dapple_color_new(struct event_base *base, const char *label);

/**
 * Returns a reference to the color of a key, and makes the color if there is none.
 *
 * Equal bytes have the same color, and different bytes have different colors. See
 * dapple_runtime_color_of_key.
 *
 * Returns NULL with errno set on failure: EINVAL if the key is NULL and its length is not 0,
 * otherwise as event_base_runtime does.
 */
DAPPLE_API
dapple_color *dapple_color_of_key(struct event_base *base,
                                  const void *key,
                                  size_t length);

/**
 * Makes the callbacks of an event run on a color.
 *
 * The event keeps a reference to the color until it gets another color, is assigned anew, or is
 * freed by event_free. With NULL the event has no color, and its callbacks run on the thread of
 * the loop.
 *
 * Returns 0, or -1 with errno set: EBUSY if the event is added or active, EINVAL if the event has
 * no base or the color belongs to another base.
 */
DAPPLE_API int event_set_color(struct event *event, dapple_color *color);

/**
 * Makes the events and deferred callbacks of a bufferevent run on a color.
 *
 * The bufferevent keeps a reference to the color. With NULL it has no color, and runs on the
 * thread of the loop. The other one of a pair, and the bufferevents that a filter or TLS is built
 * on, share the color: give it to the outermost one, after all of them are made.
 *
 * All of them must have been made with BEV_OPT_THREADSAFE, after evthread_use_pthreads(), and must
 * not be in a rate-limit group. With BEV_OPT_DEFER_CALLBACKS, all callbacks of the program run on
 * the color. Without it, libevent calls some at once, on the thread that causes them: in
 * bufferevent_trigger, a filter's in bufferevent_write, and when the look-up of a host name fails.
 *
 * Returns 0, or -1 with errno set: EBUSY if a callback of it runs or is pending, EINVAL if the
 * bufferevent is NULL, does not meet the conditions above or has another base than the color, EIO
 * if the system refuses its descriptor, so that it has no color, ENOTSUP without libevent's
 * bufferevents.
 */
DAPPLE_API int bufferevent_set_color(struct bufferevent *bufferevent, dapple_color *color);

/**
 * Makes the callbacks of a listener run on a color.
 *
 * The listener keeps a reference to the color. With NULL it has no color, and runs on the thread
 * of the loop. A listener that another thread may use needs LEV_OPT_THREADSAFE.
 *
 * Returns 0, or -1 with errno set: EINVAL if the listener is NULL or has another base than the
 * color, EBUSY if a callback of it runs or is pending, EIO if the system refuses its descriptor,
 * so that it has no color, ENOTSUP without libevent's listeners.
 */
DAPPLE_API int evconnlistener_set_color(struct evconnlistener *listener, dapple_color *color);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif
