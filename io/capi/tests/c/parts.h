/* The frame that the programs here share: each runs its checks part by part. */
#ifndef PARTS_H
#define PARTS_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline void check_failed(const char *file, int line, const char *what) {
	fprintf(stderr, "%s:%d: %s (errno %d)\n", file, line, what, errno);
	abort();
}
#define CHECK(what) ((what) ? (void)0 : check_failed(__FILE__, __LINE__, #what))
#define FAILS(call, with) CHECK((errno = 0, (call) == -1) && errno == (with))
#define IS_NULL(call, with) CHECK((errno = 0, (call) == NULL) && errno == (with))

struct part {
	const char *name;
	void (*run)(void);
};
#define PARTS(...) static const struct part parts[] = {__VA_ARGS__, {NULL, NULL}}

/* Without an argument, prints the names of the parts. With one, runs that part and prints "ok". */
static inline int run_part(int argc, char **argv, const struct part *part) {
	for (; part->name; part++) {
		if (argc < 2) puts(part->name);
		else if (!strcmp(argv[1], part->name)) {
			alarm(60);
			part->run();
			puts("ok");
			return 0;
		}
	}
	return argc < 2 ? 0 : 1;
}

#endif
