//! N7, N9: `dapple files` as its clients see it. The program runs as a process, and clients use
//! TLS.
mod browser;
mod clients;
mod contents;
mod crash;
mod dashboard;
mod effects;
mod elsewhere;
mod locks;
mod login;
mod more_clients;
mod properties;
mod protocol;
mod reach;
mod robust;
mod sequences;
mod server;
#[path = "../../../io/tests/common/tool.rs"]
mod tool;
mod tree;
