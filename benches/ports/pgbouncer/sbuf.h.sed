89a\
	struct Handshake *handshake;	/* step that runs on the client's color */
