149,155d
181a\
\
	/* Close both; their numbers may be another color's from here on. */\
	close(C->s);\
	if (C->t != -1)\
		close(C->t);
