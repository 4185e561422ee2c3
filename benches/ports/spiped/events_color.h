/* What events_dapple.c has beside events.h: colors. Events of one color never run at once; an
 * event that is registered by an event has its color. The others have the default color, whose
 * events run on the thread of main. */
#ifndef EVENTS_COLOR_H
#define EVENTS_COLOR_H

/* Runs func(cookie) on a new color. */
int events_new_color(int (*func)(void *), void * cookie);

/* Runs func(cookie) on the default color, also when an event has failed. */
int events_default_color(int (*func)(void *), void * cookie);

#endif
