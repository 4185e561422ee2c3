/* Replaces spiped's mpool.h, whose pools only work on one thread. The allocator already has a cache
 * for each thread. */
#ifndef MPOOL_H
#define MPOOL_H

#include <stdlib.h>

#define MPOOL(name, type, size)						\
static inline type * mpool_##name##_malloc(void) { return (malloc(sizeof(type))); }	\
static inline void mpool_##name##_free(type * p) { free(p); }		\
struct mpool_##name##_dummy

#endif
