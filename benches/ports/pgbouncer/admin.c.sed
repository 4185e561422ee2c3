341c\
	if (sk->sbuf.tls || sk->sbuf.handshake || (sk->link && sk->link->sbuf.tls))
