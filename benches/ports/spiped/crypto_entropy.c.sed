22c\
static _Thread_local struct {
29c\
static _Thread_local int instantiated = 0;
