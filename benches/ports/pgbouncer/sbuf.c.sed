30a\
#include <dapple_event.h>
104a\
\
/*\
 * A step of a client's handshake, on the client's color: meanwhile it has\
 * the TLS context and the socket, and nothing else does.\
 */\
struct Handshake {\
	SBuf *sbuf;	/* NULL when the client has been closed */\
	struct tls *tls;\
	int sock;\
	int err;	/* what tls_handshake() returned */\
};
876a\
static dapple_color *handshake_result;\
static _Atomic int steps, is_exiting;
1086c\
static bool handle_tls_result(SBuf *sbuf, int err)
1088,1090d
1103a\
}\
\
/* back on the default color */\
static void handshake_done(void *arg)\
{\
	struct Handshake hs = *(struct Handshake *)arg;\
\
	free(arg);\
	if (!hs.sbuf) {\
		tls_free(hs.tls);\
		safe_close(hs.sock);\
		return;\
	}\
	hs.sbuf->handshake = NULL;\
	hs.sbuf->tls = hs.tls;\
	if (!handle_tls_result(hs.sbuf, hs.err))\
		sbuf_call_proto(hs.sbuf, SBUF_EV_RECV_FAILED);\
}\
\
/* on the client's color */\
static void handshake_step(void *arg)\
{\
	struct Handshake *hs = arg;\
\
	steps++;\
	if (!is_exiting) {\
		hs->err = tls_handshake(hs->tls);\
		(void)dapple_post(handshake_result, handshake_done, hs);\
	}\
	steps--;\
}\
\
/* OpenSSL's state is freed at exit */\
static void wait_for_steps(void)\
{\
	is_exiting = 1;\
	while (steps)\
		usleep(100);\
}\
\
static bool handle_tls_handshake(SBuf *sbuf)\
{\
	struct Handshake *hs;\
	dapple_color *color;\
	int err;\
\
	/* servers' handshakes use the configuration, which may be reloaded */\
	if (sbuf->proto_cb != client_proto)\
		return handle_tls_result(sbuf, tls_handshake(sbuf->tls));\
\
	if (!handshake_result && atexit(wait_for_steps) == 0)\
		handshake_result = dapple_runtime_default_color(event_base_runtime(pgb_event_base));\
	hs = calloc(1, sizeof(*hs));\
	if (!hs)\
		return false;\
	hs->sbuf = sbuf;\
	hs->tls = sbuf->tls;\
	hs->sock = sbuf->sock;\
	color = dapple_color_of_key(pgb_event_base, &sbuf, sizeof(sbuf));\
	err = dapple_post(color, handshake_step, hs);\
	dapple_color_unref(color);\
	if (err) {\
		log_warning("TLS handshake: %s", strerror(errno));\
		free(hs);\
		return false;\
	}\
	sbuf->handshake = hs;\
	sbuf->tls = NULL;\
	return true;
1233a\
	if (sbuf->handshake) {\
		/* handshake_done() closes */\
		sbuf->handshake->sbuf = NULL;\
		sbuf->handshake = NULL;\
		sbuf->sock = 0;\
	}
