//! N1, N2: callbacks on descriptors, and signals.
mod common;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use common::{pair, start};
use dapple::{Cx, Runtime};
use dapple_io::stream::{Conn, ConnOptions, Protocol};
use dapple_io::tcp::Accepting;
use dapple_io::{Io, Registration};

/// Returns the descriptors of the pollers that watch a descriptor.
fn pollers_of(fd: RawFd) -> Vec<String> {
    let wanted = |line: &str| {
        let mut words = line.split_whitespace();
        words.next() == Some("tfd:") && words.next() == Some(&fd.to_string())
    };
    let mut pollers = Vec::new();
    for entry in fs::read_dir("/proc/self/fdinfo").unwrap() {
        let entry = entry.unwrap();
        // The descriptor may have been closed meanwhile.
        let told = fs::read_to_string(entry.path()).unwrap_or_default();
        if told.lines().any(wanted) {
            pollers.push(entry.file_name().into_string().unwrap());
        }
    }
    pollers.sort();
    pollers
}

struct Silent;

impl Protocol for Silent {
    fn on_data(&mut self, _: &mut Conn, _: &mut Cx) {}
}

#[test]
fn n1_what_calls_back_on_one_color_is_watched_by_one_worker() {
    let (rt, io) = start(2);
    let (mut registrations, mut fds, mut open) = (Vec::new(), Vec::new(), Vec::new());
    let color = rt.handle().default_color();
    // Without the rule, each descriptor would be dealt to the next worker in turn.
    for n in 0..8 {
        let (ours, theirs) = pair();
        fds.push(ours.as_raw_fd());
        match n % 2 {
            0 => drop(io.adopt(ours).unwrap().serve(&color, ConnOptions::default(), Silent)),
            _ => {
                registrations.push(io.on_readable(&ours, &color, |_| {}).unwrap());
                open.push(ours);
            }
        }
        open.push(theirs);
    }
    rt.wait_idle();
    let pollers: Vec<_> = fds.iter().map(|fd| pollers_of(*fd)).collect();
    assert!(!pollers[0].is_empty(), "{pollers:?}");
    assert!(pollers.iter().all(|of_one| *of_one == pollers[0]), "{pollers:?}");
    // Descriptors of different colors are dealt out.
    let mut others = Vec::new();
    for _ in 0..8 {
        let (ours, theirs) = pair();
        let registered = io.on_readable(&ours, &rt.handle().new_color(), |_| {});
        registrations.push(registered.unwrap());
        others.push(pollers_of(ours.as_raw_fd()));
        open.extend([ours, theirs]);
    }
    others.sort();
    others.dedup();
    assert_eq!(others.len(), 2, "{others:?}");
}

#[test]
fn n1_connections_that_are_accepted_and_served_on_one_color_are_watched_together() {
    let (rt, io) = start(2);
    let color = rt.handle().new_color();
    let (tell, told) = mpsc::channel();
    let served = color.clone();
    let local = "127.0.0.1:0".parse().unwrap();
    let listener = io.listen(local, Accepting::OnColor(color.clone()), move |stream, _| {
        tell.send(stream.as_fd().as_raw_fd()).unwrap();
        stream.serve(&served, ConnOptions::default(), Silent);
    });
    let listener = listener.unwrap();
    let connect = || TcpStream::connect(listener.local_addr()).unwrap();
    let _clients: Vec<_> = (0..8).map(|_| connect()).collect();
    let come = |_| told.recv_timeout(Duration::from_secs(20)).unwrap();
    let fds: Vec<_> = (0..8).map(come).collect();
    rt.wait_idle();
    let pollers: Vec<_> = fds.iter().map(|fd| pollers_of(*fd)).collect();
    assert!(!pollers[0].is_empty(), "{pollers:?}");
    assert!(pollers.iter().all(|of_one| *of_one == pollers[0]), "{pollers:?}");
}

#[test]
fn n1_a_shared_color_is_not_watched_by_a_thread_that_may_be_away() {
    // The thread of worker 0 runs no turn. The other worker watches the color.
    let here = dapple_io::runtime().workers(2).build_here().unwrap();
    let (h, io) = (here.handle(), Io::of(&here.handle()));
    let color = h.new_color();
    let (tell, told) = mpsc::channel();
    let mut registrations = Vec::new();
    let mut peers = Vec::new();
    for n in 0..4 {
        let (ours, theirs) = pair();
        let (mut reader, tell) = (ours.try_clone().unwrap(), tell.clone());
        let reads = move |_: &mut Cx| {
            if reader.read(&mut [0; 8]).is_ok() {
                tell.send(n).unwrap();
            }
        };
        registrations.push(io.on_readable(&ours, &color, reads).unwrap());
        peers.push((ours, theirs));
    }
    for (_, peer) in &mut peers {
        peer.write_all(b"x").unwrap();
    }
    let come = |_| told.recv_timeout(Duration::from_secs(20)).unwrap();
    let mut came: Vec<_> = (0..4).map(come).collect();
    came.sort();
    assert_eq!(came, [0, 1, 2, 3]);
    drop(registrations);
}

#[test]
fn n1_listeners_and_connections_go_on_while_the_thread_of_here_is_away() {
    let here = dapple_io::runtime().workers(3).build_here().unwrap();
    let io = Io::of(&here.handle());
    let local = "127.0.0.1:0".parse().unwrap();
    let greets = |mut stream: TcpStream| {
        let mut byte = [0];
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.read_exact(&mut byte).unwrap();
    };
    struct Greets;
    impl Protocol for Greets {
        fn on_open(&mut self, conn: &mut Conn, _: &mut Cx) {
            conn.send(b"!");
        }
        fn on_data(&mut self, _: &mut Conn, _: &mut Cx) {}
    }
    let listener = io.listen(local, Accepting::PerWorker, |stream, cx| {
        stream.serve(&cx.new_color(), ConnOptions::default(), Greets);
    });
    let listener = listener.unwrap();
    // The system deals connections out. If the absent thread had a listener, it would get some of
    // them.
    for _ in 0..24 {
        greets(TcpStream::connect(listener.local_addr()).unwrap());
    }
}

#[test]
fn n2_one_byte_a_call_drains_everything() {
    let (rt, io) = start(2);
    let (ours, mut theirs) = pair();
    let (tx, rx) = mpsc::channel();
    let mut reader = ours.try_clone().unwrap();
    let registration = io
        .on_readable(&ours, &rt.handle().new_color(), move |_| {
            let mut byte = [0];
            if reader.read(&mut byte).unwrap() == 1 {
                tx.send(byte[0]).unwrap();
            }
        })
        .unwrap();
    let sent: Vec<u8> = (0..2_000u32).map(|i| i as u8).collect();
    theirs.write_all(&sent[..1_500]).unwrap();
    thread::sleep(Duration::from_millis(2));
    theirs.write_all(&sent[1_500..]).unwrap();
    assert_eq!(rx.iter().take(2_000).collect::<Vec<_>>(), sent);
    drop(registration);
}

#[test]
fn n2_a_writer_and_a_reader_share_a_descriptor() {
    let (rt, io) = start(1);
    let (ours, mut theirs) = pair();
    let color = rt.handle().new_color();
    let calls = Arc::new(AtomicUsize::new(0));
    let (tx, rx) = mpsc::channel();
    let mut reader = ours.try_clone().unwrap();
    let _read = io
        .on_readable(&ours, &color, move |_| {
            let mut bytes = [0; 64];
            let n = reader.read(&mut bytes).unwrap();
            tx.send(bytes[..n].to_vec()).unwrap();
        })
        .unwrap();
    let slot: Arc<Mutex<Option<Registration>>> = Arc::default();
    let (also, counted, mut writer) =
        (Arc::clone(&slot), Arc::clone(&calls), ours.try_clone().unwrap());
    let mut held = slot.lock().unwrap();
    let write = io
        .on_writable(&ours, &color, move |_| {
            // The socket is writable all the time, so this is called until it drops its
            // registration.
            if counted.fetch_add(1, Relaxed) == 2 {
                writer.write_all(b"out").unwrap();
                drop(also.lock().unwrap().take());
            }
        })
        .unwrap();
    *held = Some(write);
    drop(held);
    let mut answer = [0; 3];
    theirs.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"out");
    theirs.write_all(b"in").unwrap();
    assert_eq!(rx.recv().unwrap(), b"in");
    rt.wait_idle();
    assert_eq!(calls.load(Relaxed), 3);
    // The direction can be registered again.
    let (tx, rx) = mpsc::channel();
    let third = io.on_writable(&ours, &color, move |_| tx.send(()).unwrap_or(())).unwrap();
    rx.recv().unwrap();
    drop(third);
}

#[test]
fn n2_a_dropped_registration_is_silent_and_its_callback_goes_on_its_color() {
    let (rt, io) = start(1);
    let (ours, mut theirs) = pair();
    struct Tell(mpsc::Sender<Option<usize>>, dapple::Handle);
    impl Drop for Tell {
        fn drop(&mut self) {
            let _ = self.0.send(self.1.current_worker());
        }
    }
    let (tx, rx) = mpsc::channel();
    let tell = Tell(tx, rt.handle());
    let registration = io
        .on_readable(&ours, &rt.handle().new_color(), move |_| {
            let _tell = &tell;
            unreachable!("dropped before anything came");
        })
        .unwrap();
    drop(registration);
    theirs.write_all(b"x").unwrap();
    assert_eq!(rx.recv().unwrap(), Some(0));
    rt.wait_idle();
    assert_eq!(rt.metrics().panics(), 0);
}

#[test]
fn n2_a_panicking_callback_is_called_again() {
    let (rt, io) = start(1);
    let (ours, mut theirs) = pair();
    let (tx, rx) = mpsc::channel();
    let mut reader = ours.try_clone().unwrap();
    let _registration = io
        .on_readable(&ours, &rt.handle().default_color(), move |_| {
            let mut byte = [0];
            let _ = reader.read(&mut byte).unwrap();
            tx.send(byte[0]).unwrap();
            assert_ne!(byte[0], b'a');
        })
        .unwrap();
    theirs.write_all(b"abc").unwrap();
    assert_eq!(rx.iter().take(3).collect::<Vec<_>>(), b"abc");
    rt.wait_idle();
    assert_eq!(rt.metrics().panics(), 1);
}

#[test]
fn n2_a_descriptor_that_was_closed_and_reused_gets_a_fresh_registration() {
    let (rt, io) = start(1);
    let color = rt.handle().new_color();
    let (one, _other) = pair();
    let stale = io.on_readable(&one, &color, |_| ()).unwrap();
    drop(one);
    // The system uses the lowest free number, so this is very likely the same one.
    let (two, mut theirs) = pair();
    let (tx, rx) = mpsc::channel();
    let mut reader = two.try_clone().unwrap();
    let fresh = io
        .on_readable(&two, &color, move |_| {
            let mut byte = [0];
            let _ = reader.read(&mut byte).unwrap();
            tx.send(byte[0]).unwrap();
        })
        .unwrap();
    drop(stale);
    theirs.write_all(b"z").unwrap();
    assert_eq!(rx.recv().unwrap(), b'z', "dropping the stale one did not touch the fresh one");
    drop(fresh);
}

#[test]
fn n2_what_cannot_be_polled_is_an_error() {
    let (rt, io) = start(1);
    let file = tempfile::tempfile().unwrap();
    let error = io.on_readable(&file, &rt.handle().default_color(), |_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
}

#[test]
fn n2_the_end_of_a_stream_is_readable() {
    let (rt, io) = start(1);
    let (ours, theirs) = pair();
    let (tx, rx) = mpsc::channel();
    let mut reader = ours.try_clone().unwrap();
    let slot: Arc<Mutex<Option<Registration>>> = Arc::default();
    let also = Arc::clone(&slot);
    let mut held = slot.lock().unwrap();
    let registration = io.on_readable(&ours, &rt.handle().new_color(), move |_| {
        tx.send(reader.read(&mut [0; 8]).unwrap()).unwrap();
        drop(also.lock().unwrap().take());
    });
    *held = Some(registration.unwrap());
    drop(held);
    drop(theirs);
    assert_eq!(rx.recv().unwrap(), 0);
}

#[test]
fn n2_signals_are_callbacks() {
    let (rt, io) = start(2);
    let (tx, rx) = mpsc::channel();
    let color = rt.handle().new_color();
    let also = color.clone();
    let registration = io
        .on_signal(libc::SIGUSR2, &color, move |cx| {
            tx.send(cx.is_on(&also)).unwrap();
        })
        .unwrap();
    for _ in 0..3 {
        // SAFETY: the calls take numbers only, and this process handles the signal.
        assert_eq!(unsafe { libc::kill(libc::getpid(), libc::SIGUSR2) }, 0);
        assert!(rx.recv().unwrap());
    }
    drop(registration);
    for bad in [libc::SIGKILL, libc::SIGSEGV, 0, -1] {
        let error = io.on_signal(bad, &color, |_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn n2_a_thread_waits_for_the_first_of_several_signals() {
    let (rt, io) = start(1);
    let h = rt.handle();
    let raise = h.every(Duration::from_millis(1), &h.new_color(), |_| {
        // SAFETY: the calls take numbers only. Before the signal is handled, its default action
        // does nothing.
        unsafe { libc::kill(libc::getpid(), libc::SIGURG) };
    });
    assert_eq!(io.wait_for_signal(&[libc::SIGCONT, libc::SIGURG]).unwrap(), libc::SIGURG);
    raise.cancel();
    let none = io.wait_for_signal(&[]).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::InvalidInput);
    let kill = io.wait_for_signal(&[libc::SIGKILL]).unwrap_err();
    assert_eq!(kill.kind(), ErrorKind::InvalidInput);
}

#[test]
fn registrations_may_outlive_the_runtime() {
    let (rt, io) = start(2);
    let (ours, _theirs) = pair();
    let color = rt.handle().new_color();
    let registration = io.on_readable(&ours, &color, |_| ()).unwrap();
    let signal = io.on_signal(libc::SIGWINCH, &color, |_| ()).unwrap();
    drop(rt);
    drop((registration, signal));
    let late = io.on_readable(&ours, &color, |_| ());
    drop(late);
}

#[test]
#[should_panic(expected = "dapple_io::runtime()")]
fn a_runtime_without_reactor_is_told() {
    let rt = Runtime::builder().workers(1).build().unwrap();
    Io::of(&rt.handle());
}

#[test]
fn n2_a_signal_that_comes_while_its_callback_runs_calls_again() {
    let (rt, io) = start(2);
    let (tx, rx) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let registration = io
        .on_signal(libc::SIGUSR1, &rt.handle().new_color(), move |_| {
            tx.send(()).unwrap();
            wait.recv().unwrap();
        })
        .unwrap();
    // SAFETY: the calls take numbers only, and this process handles the signal.
    let raise = || assert_eq!(unsafe { libc::kill(libc::getpid(), libc::SIGUSR1) }, 0);
    raise();
    rx.recv().unwrap();
    raise();
    // The other worker has seen the second signal, while the callback is still in its first call.
    thread::sleep(Duration::from_millis(50));
    go.send(()).unwrap();
    rx.recv_timeout(Duration::from_secs(60)).unwrap();
    go.send(()).unwrap();
    drop(registration);
}

#[test]
fn a_shutdown_while_descriptors_are_ready_ends() {
    for _ in 0..30 {
        let (rt, io) = start(2);
        let (ours, _theirs) = pair();
        // The socket is writable all the time, so the reactors always have something to post.
        let color = rt.handle().new_color();
        let one = io.on_writable(&ours, &color, |_| ()).unwrap();
        thread::sleep(Duration::from_millis(1));
        let report = rt.shutdown(Duration::ZERO);
        assert!(report.stuck_workers.is_empty());
        drop(one);
    }
}

#[test]
fn a_callback_that_owns_its_registration_goes_with_the_runtime() {
    let dropped = Arc::new(AtomicUsize::new(0));
    struct Count(Arc<AtomicUsize>);
    impl Drop for Count {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    let (rt, io) = start(1);
    let (ours, _theirs) = pair();
    let slot: Arc<Mutex<Option<Registration>>> = Arc::default();
    let (also, count) = (Arc::clone(&slot), Count(Arc::clone(&dropped)));
    let registration = io.on_readable(&ours, &rt.handle().new_color(), move |_| {
        let _ = (&also, &count);
    });
    *slot.lock().unwrap() = Some(registration.unwrap());
    drop(slot);
    drop(rt);
    assert_eq!(dropped.load(Relaxed), 1);
}

#[test]
fn callbacks_that_panic_when_they_are_dropped_do_not_stop_the_end() {
    struct Bomb(Arc<AtomicUsize>);
    impl Drop for Bomb {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
            panic!("drop");
        }
    }
    let drops = Arc::new(AtomicUsize::new(0));
    let (rt, io) = start(2);
    let pairs: Vec<_> = (0..6).map(|_| pair()).collect();
    let registrations: Vec<_> = pairs
        .iter()
        .map(|(ours, _)| {
            let bomb = Bomb(Arc::clone(&drops));
            io.on_readable(ours, &rt.handle().new_color(), move |_| {
                let _ = &bomb;
            })
            .unwrap()
        })
        .collect();
    let report = rt.shutdown(Duration::ZERO);
    assert!(report.stuck_workers.is_empty());
    assert_eq!(drops.load(Relaxed), 6);
    drop(registrations);
}

#[test]
fn n2_a_number_that_is_no_signal_is_an_error() {
    let (rt, io) = start(1);
    let color = rt.handle().default_color();
    let odd = [
        i32::MIN,
        -1,
        0,
        libc::SIGKILL,
        libc::SIGSTOP,
        libc::SIGSEGV,
        65,
        127,
        128,
        1_000,
        i32::MAX,
    ];
    for signal in odd {
        let error = io.on_signal(signal, &color, |_| ()).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{signal}: {error}");
        let error = io.restore_default(signal).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{signal}: {error}");
    }
    let real_time = io.on_signal(libc::SIGRTMAX(), &color, |_| ()).unwrap();
    assert_eq!(io.restore_default(libc::SIGRTMAX()).unwrap_err().kind(), ErrorKind::InvalidInput);
    drop(real_time);
}

/// The child that the test below starts. SIGUSR2 ends it when its registrations are gone and the
/// default was requested.
#[test]
fn child_of_the_test_of_restored_signals() {
    let Ok(role) = std::env::var("DAPPLE_TEST_SIGNAL") else { return };
    let (rt, io) = start(1);
    let h = rt.handle();
    let (tx, rx) = mpsc::channel();
    let calls = move |_: &mut dapple::Cx| tx.send(()).unwrap();
    let first = io.on_signal(libc::SIGUSR2, &h.default_color(), calls.clone()).unwrap();
    let second = io.on_signal(libc::SIGUSR2, &h.default_color(), calls).unwrap();
    if role != "kept" {
        io.restore_default(libc::SIGUSR2).unwrap();
    }
    let raise = || {
        // SAFETY: the call takes a number only.
        unsafe { libc::raise(libc::SIGUSR2) };
    };
    raise();
    rx.recv().unwrap();
    rx.recv().unwrap();
    drop(first);
    raise();
    rx.recv().unwrap();
    drop(second);
    if role == "again" {
        let third = io.on_signal(libc::SIGUSR2, &h.default_color(), |_| ()).unwrap();
        raise();
        drop(third);
    }
    raise();
    std::process::exit(7);
}

#[test]
fn n2_a_signal_gets_its_default_back_on_request() {
    use std::os::unix::process::ExitStatusExt;
    for (role, ended_by) in
        [("kept", None), ("restored", Some(libc::SIGUSR2)), ("again", Some(libc::SIGUSR2))]
    {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_of_the_test_of_restored_signals"])
            .env("DAPPLE_TEST_SIGNAL", role)
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert_eq!(status.signal(), ended_by, "{role}: {status}");
        if ended_by.is_none() {
            assert_eq!(status.code(), Some(7), "{role}");
        }
    }
}
