//! The installed libevent header has the layout that the library assumes, and the library exports
//! what libevent's upper layers and programs call.
mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use common::{On, compile, has, library, output};

/// The layout in `io/capi/src/event/layout.rs`, as `tests/c/layout.c` prints it.
const EXPECTED: &str = "\
event 128 callback 40
evcallback 0 fd 56 base 64 events 104 res 106 timeout 112
flags 16 priority 18 closure 19 call 24 arg 32
constants 1 2 4 8 16 32 64 128
flags 1 2 8 16 32 64 128
bufferevent base 0 read 16 write 144 input 272 output 280 threadsafe 2
loops 1 2 4
version 0x201 0x201
";

#[test]
fn the_installed_header_has_the_layout_of_the_library() {
    let Some(program) = compile("layout", &[]) else { return };
    for on in [On::Libevent, On::Dapple] {
        let printed = output(&program, &[], on);
        assert_eq!(String::from_utf8_lossy(&printed.stdout), EXPECTED, "{on:?}");
    }
}

/// Returns the symbols that `nm` lists for a file: those that it defines or needs.
fn names(arguments: &[&str], file: &str) -> BTreeSet<String> {
    let printed = Command::new("nm").args(arguments).arg(file).output().unwrap();
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let text = String::from_utf8_lossy(&printed.stdout).into_owned();
    let last = |line: &str| Some(line.split_whitespace().last()?.split('@').next()?.to_owned());
    text.lines().filter_map(last).collect()
}

/// Returns `true` for the symbols that remain libevent's: memory, the log, and the set-up of locks.
fn stays(name: &str) -> bool {
    let stays = ["event_mm_", "event_debug_map_", "event_set_mem", "event_set_log"];
    let also = [
        "event_debug_created_threadable_ctx_",
        "event_debug_mode_on_",
        "event_enable_debug_logging",
        "event_set_fatal_callback",
        "event_global_setup_locks_",
    ];
    let of_the_log =
        ["event_err", "event_warn", "event_msg", "event_sock_", "event_log", "event_debugx"];
    stays.iter().chain(&of_the_log).any(|start| name.starts_with(start)) || also.contains(&name)
}

#[test]
fn p1_what_upper_layers_and_programs_call_is_exported() {
    let folder = "/usr/lib/x86_64-linux-gnu";
    let archive = format!("{folder}/libevent_core.a");
    if !has("nm") || !has("ar") || !std::path::Path::new(&archive).exists() {
        return;
    }
    let ours = names(&["-D", "--defined-only"], library().to_str().unwrap());
    let is_event = |name: &&String| name.starts_with("event_") && !stays(name);
    // The public functions of the core.
    let core = format!("{folder}/libevent_core-2.1.so.7");
    let public = names(&["-D", "--defined-only"], &core);
    let missing: Vec<_> = public
        .iter()
        .filter(is_event)
        .filter(|n| !n.ends_with('_') && !ours.contains(*n))
        .collect();
    assert!(missing.is_empty(), "not exported: {missing:?}");
    // The functions of the core that the upper layers need. The members of the archives list their
    // undefined symbols.
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ar");
    let mut needed = BTreeSet::new();
    let mut of_core = BTreeSet::new();
    for name in ["event_core", "event_extra", "event_openssl", "event_pthreads"] {
        let folder_of = temporary.join(name);
        std::fs::create_dir_all(&folder_of).unwrap();
        let archive = format!("{folder}/lib{name}.a");
        let unpacked = Command::new("ar").args(["x", &archive]).current_dir(&folder_of).status();
        assert!(unpacked.unwrap().success());
        for member in std::fs::read_dir(&folder_of).unwrap() {
            let member = member.unwrap();
            let file = member.path().to_str().unwrap().to_owned();
            let core = ["event.o", "evmap.o", "signal.o", "epoll.o", "select.o", "poll.o"];
            match name == "event_core" && core.iter().any(|core| member.file_name() == *core) {
                true => of_core.extend(names(&["-g", "--defined-only"], &file)),
                false => needed.extend(names(&["-u"], &file)),
            }
        }
    }
    std::fs::remove_dir_all(&temporary).unwrap();
    let missing: Vec<_> = needed
        .intersection(&of_core)
        .filter(|name| !stays(name) && !ours.contains(*name))
        .collect();
    assert!(missing.is_empty() && needed.contains("event_deferred_cb_schedule_"), "{missing:?}");
    // The library exports nothing else but functions of libevent and its own.
    let prefixes = ["event_", "evthread_", "dapple_"];
    let wrapped = [
        "bufferevent_add_to_rate_limit_group",
        "bufferevent_remove_from_rate_limit_group",
        "bufferevent_set_color",
        "evconnlistener_disable",
        "evconnlistener_free",
        "evconnlistener_set_color",
    ];
    let is_foreign = |name: &&String| {
        !prefixes.iter().any(|prefix| name.starts_with(prefix)) && !wrapped.contains(&&***name)
    };
    let foreign: Vec<_> = ours.iter().filter(is_foreign).collect();
    assert!(foreign.is_empty(), "exported: {foreign:?}");
}
