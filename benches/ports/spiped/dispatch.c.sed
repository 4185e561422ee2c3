6a\
#include "events_color.h"
39a\
	int s;\
	struct sock_addr ** sas;
115c\
conndied(void * cookie)
119,120d
150a\
}\
\
static int\
callback_conndied(void * cookie, int reason)\
{\
\
	(void)reason; /* UNUSED */\
	return (events_default_color(conndied, cookie));\
}\
\
/* Create a connection, on its own color. */\
static int\
startconn(void * cookie)\
{\
	struct conn_list_node * node = cookie;\
	struct accept_state * A = node->A;\
\
	return ((node->conn_cookie = proto_conn_create(node->s, node->sas,\
	    A->decr, A->nopfs, A->requirepfs, A->nokeepalive, A->K, A->timeo,\
	    callback_conndied, node)) == NULL ? -1 : 0);
185,187c\
	node_new->conn_cookie = NULL;\
	node_new->s = s;\
	node_new->sas = sas;\
	if (events_new_color(startconn, node_new)) {
313c\
	while (A->conn_cookies != NULL && A->conn_cookies->conn_cookie != NULL)
