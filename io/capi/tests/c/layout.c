/* Prints the sizes and offsets of the installed libevent, which the library must have. */
#include <event2/bufferevent.h>
#include <event2/bufferevent_struct.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/thread.h>
#include <stddef.h>
#include <stdio.h>

int main(void) {
	printf("event %zu callback %zu\n", sizeof(struct event), sizeof(struct event_callback));
	printf("evcallback %zu fd %zu base %zu events %zu res %zu timeout %zu\n",
		offsetof(struct event, ev_evcallback), offsetof(struct event, ev_fd),
		offsetof(struct event, ev_base), offsetof(struct event, ev_events),
		offsetof(struct event, ev_res), offsetof(struct event, ev_timeout));
	printf("flags %zu priority %zu closure %zu call %zu arg %zu\n",
		offsetof(struct event_callback, evcb_flags), offsetof(struct event_callback, evcb_pri),
		offsetof(struct event_callback, evcb_closure),
		offsetof(struct event_callback, evcb_cb_union), offsetof(struct event_callback, evcb_arg));
	printf("constants %d %d %d %d %d %d %d %d\n", EV_TIMEOUT, EV_READ, EV_WRITE, EV_SIGNAL,
		EV_PERSIST, EV_ET, EV_FINALIZE, EV_CLOSED);
	printf("flags %d %d %d %d %d %d %d\n", EVLIST_TIMEOUT, EVLIST_INSERTED, EVLIST_ACTIVE,
		EVLIST_INTERNAL, EVLIST_ACTIVE_LATER, EVLIST_FINALIZING, EVLIST_INIT);
	printf("bufferevent base %zu read %zu write %zu input %zu output %zu threadsafe %d\n",
		offsetof(struct bufferevent, ev_base), offsetof(struct bufferevent, ev_read),
		offsetof(struct bufferevent, ev_write), offsetof(struct bufferevent, input),
		offsetof(struct bufferevent, output), BEV_OPT_THREADSAFE);
	printf("loops %d %d %d\n", EVLOOP_ONCE, EVLOOP_NONBLOCK, EVLOOP_NO_EXIT_ON_EMPTY);
	printf("version %#x %#x\n", LIBEVENT_VERSION_NUMBER >> 16, event_get_version_number() >> 16);
	return 0;
}
