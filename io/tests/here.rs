//! E18 with a reactor: the poller of a thread of the caller's, and its use in a foreign loop.
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use dapple::{Here, Turn};
use dapple_io::Io;

fn here(workers: usize) -> (Here, Io) {
    let here = dapple_io::runtime().workers(workers).default_here(true).build_here().unwrap();
    let io = Io::of(&here.handle());
    (here, io)
}

/// Returns `true` if the runtime's descriptor is readable within `millis` ms, which asks for a
/// turn.
fn asks(here: &Here, millis: i32) -> bool {
    let fd = here.poll_fd().unwrap().as_raw_fd();
    let mut ask = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: the pointer is to `ask`, which is one entry and valid for the call.
    unsafe { libc::poll(&mut ask, 1, millis) == 1 }
}

#[test]
fn e18_the_descriptor_is_readable_when_a_turn_is_due() {
    let (here, io) = here(1);
    let h = here.handle();
    here.turn(Turn::Poll, usize::MAX);
    assert!(!asks(&here, 0) && here.next_deadline().is_none());
    // A descriptor that becomes readable asks for a turn.
    let (mut a, b) = UnixStream::pair().unwrap();
    b.set_nonblocking(true).unwrap();
    let read = Arc::new(AtomicUsize::new(0));
    let (also_read, reader) = (Arc::clone(&read), b.try_clone().unwrap());
    let registration = here.enter(|_| {
        io.on_readable(&b, &h.default_color(), move |_| {
            let n = (&reader).read(&mut [0; 64]).unwrap();
            also_read.fetch_add(n, SeqCst);
        })
    });
    here.turn(Turn::Poll, usize::MAX);
    assert!(!asks(&here, 0));
    a.write_all(b"hello").unwrap();
    assert!(asks(&here, 20_000));
    here.turn(Turn::Poll, usize::MAX);
    assert_eq!(read.load(SeqCst), 5);
    while asks(&here, 0) {
        here.turn(Turn::Poll, usize::MAX);
    }
    // A post from another thread asks for a turn.
    let color = h.new_color();
    thread::spawn(move || color.post(|_| {})).join().unwrap();
    assert!(asks(&here, 20_000));
    let ran = here.metrics().events();
    here.turn(Turn::Poll, usize::MAX);
    assert_eq!(here.metrics().events(), ran + 1);
    while asks(&here, 0) {
        here.turn(Turn::Poll, usize::MAX);
    }
    // A timer sets a deadline, and does not make the descriptor readable.
    h.post_after(Duration::from_millis(5), &h.default_color(), |_| {});
    here.turn(Turn::Poll, usize::MAX);
    let left = here.next_deadline().unwrap().saturating_duration_since(Instant::now());
    assert!(left <= Duration::from_millis(8) && !asks(&here, 0));
    drop(registration);
}

#[test]
fn e18_a_foreign_loop_serves_both() {
    let (here, _) = here(2);
    let h = here.handle();
    let (tx, rx) = mpsc::channel();
    let answers = Arc::new(AtomicUsize::new(0));
    let me = thread::current().id();
    let poster = thread::spawn({
        let answers = Arc::clone(&answers);
        move || {
            for n in 0..200u32 {
                let (tx, h, answers) = (tx.clone(), h.clone(), Arc::clone(&answers));
                h.new_color().post(move |cx| {
                    // Computed by any worker, shown on the thread of the loop.
                    let also_tx = tx.clone();
                    cx.post_default(move |_| {
                        assert_eq!(thread::current().id(), me);
                        answers.fetch_add(1, SeqCst);
                        also_tx.send(n).unwrap();
                    });
                });
                if n % 7 == 0 {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        }
    });
    while answers.load(SeqCst) < 200 {
        let timeout = here
            .next_deadline()
            .map_or(-1, |time| time.saturating_duration_since(Instant::now()).as_millis() as i32);
        asks(&here, timeout);
        here.turn(Turn::Poll, 8);
    }
    poster.join().unwrap();
    let mut seen: Vec<_> = rx.iter().collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..200).collect::<Vec<_>>());
    assert_eq!(here.metrics().panics(), 0);
}

#[test]
fn e18_a_turn_waits_in_the_poller_once() {
    let (here, io) = here(1);
    let h = here.handle();
    let (mut a, b) = UnixStream::pair().unwrap();
    let (reader, read) = (b.try_clone().unwrap(), Arc::new(AtomicUsize::new(0)));
    let also_read = Arc::clone(&read);
    let _registration = io.on_readable(&b, &h.default_color(), move |_| {
        (&reader).read_exact(&mut [0; 1]).unwrap();
        also_read.fetch_add(1, SeqCst);
    });
    here.turn(Turn::Poll, usize::MAX);
    let polls = here.metrics().polls();
    for n in 1..=100 {
        a.write_all(b"x").unwrap();
        let mut turns = 0;
        while read.load(SeqCst) < n {
            here.turn(Turn::Block, usize::MAX);
            turns += 1;
        }
        assert!(turns <= 2, "{turns} turns for one byte");
    }
    assert!(here.metrics().polls() - polls <= 200);
    // A post from another thread wakes a thread that is blocked in a turn.
    let done = Arc::new(AtomicBool::new(false));
    let also_done = Arc::clone(&done);
    let other = thread::spawn(move || {
        thread::sleep(Duration::from_millis(10));
        h.post_default(move |_| also_done.store(true, SeqCst));
    });
    here.run(|| done.load(SeqCst));
    other.join().unwrap();
}

thread_local! {
    /// The runtime of this thread, for callbacks that enter it again.
    static HERE: std::cell::RefCell<Option<std::rc::Rc<Here>>> =
        const { std::cell::RefCell::new(None) };
}

#[test]
fn e18_a_callback_on_a_descriptor_may_run_turns_and_be_ended_meanwhile() {
    for ends in [false, true] {
        let (here, io) = here(1);
        let here = std::rc::Rc::new(here);
        HERE.set(Some(std::rc::Rc::clone(&here)));
        let (mut a, b) = UnixStream::pair().unwrap();
        b.set_nonblocking(true).unwrap();
        if !ends {
            a.write_all(b"x").unwrap();
        }
        let (read, depth) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (also_read, reader) = (Arc::clone(&read), Arc::new(b));
        let slot = Arc::new(std::sync::Mutex::new(None::<dapple_io::Registration>));
        let (also_slot, keeps) = (Arc::clone(&slot), Arc::clone(&reader));
        let color = here.handle().default_color();
        let kept = Arc::new(());
        let also_kept = Arc::clone(&kept);
        let edges = dapple_io::Interest::READABLE.edge_triggered();
        let registration = io.on_ready(reader, edges, &color, move |_, _| {
            let _kept = &also_kept;
            assert_eq!(depth.fetch_add(1, SeqCst), 0, "one call at a time");
            while let Ok(n @ 1..) = (&*keeps).read(&mut [0; 1]) {
                also_read.fetch_add(n, SeqCst);
            }
            let here = HERE.with_borrow(|here| here.clone().unwrap());
            if ends {
                drop(also_slot.lock().unwrap().take());
            }
            // More bytes arrive meanwhile.
            (0..3).for_each(|_| _ = here.turn(Turn::Poll, usize::MAX));
            if also_read.load(SeqCst) < 5 && !ends {
                a.write_all(b"y").unwrap();
            }
            (0..3).for_each(|_| _ = here.turn(Turn::Poll, usize::MAX));
            depth.fetch_sub(1, SeqCst);
        });
        *slot.lock().unwrap() = Some(registration.unwrap());
        let until = Instant::now() + Duration::from_secs(20);
        while !ends && read.load(SeqCst) < 5 && Instant::now() < until {
            here.turn(Turn::Until(Instant::now() + Duration::from_millis(1)), usize::MAX);
        }
        (0..10).for_each(|_| _ = here.turn(Turn::Poll, usize::MAX));
        drop(slot.lock().unwrap().take());
        (0..10).for_each(|_| _ = here.turn(Turn::Poll, usize::MAX));
        assert_eq!((read.load(SeqCst), Arc::strong_count(&kept)), (if ends { 0 } else { 5 }, 1));
        assert_eq!(here.metrics().panics(), 0);
        HERE.take();
    }
}
