/* A program that is linked to libevent before libdapple_event gets libevent's bases. The library
 * reports that. */
#include <dapple_event.h>

#include <stdio.h>

int main(void) {
	struct event_base *base = event_base_new();
	int failed = !dapple_color_new(base, NULL) && event_base_set_workers(base, 2) == -1 && !event_base_metrics(base);
	puts(failed ? "ok" : "a base of libevent's has a color");
	event_base_free(base);
	return 0;
}
