/* Colors, which events_dapple.c adds to events.h. Events of one color never run at the same time.
 * An event that is registered by another event has its color. All others have the default color,
 * whose events run on the thread of main. */
#ifndef EVENTS_COLOR_H
#define EVENTS_COLOR_H

/* Runs func(cookie) on a new color. */
int events_new_color(int (*func)(void *), void * cookie);

/* Runs func(cookie) on the default color, even if an event has failed. */
int events_default_color(int (*func)(void *), void * cookie);

#endif
