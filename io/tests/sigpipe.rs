//! N11: no write to a socket raises SIGPIPE, whatever the process does about it. This is a program
//! of its own, because it restores the signal's default: a write that raised it would end the
//! program.
use std::io::{IoSlice, Seek, SeekFrom, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use dapple::Cx;
use dapple_io::Io;
use dapple_io::tcp::{Accepting, CloseReason, Conn, ConnOptions, Protocol};
use futures_lite::io::AsyncWriteExt;

/// A protocol that writes in one way, again and again, until a write fails.
struct Writes {
    how: How,
    file: Arc<std::fs::File>,
    closed: mpsc::Sender<String>,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Bytes,
    Shared,
    Mixed,
    File,
    BytesAndFile,
}

impl Writes {
    fn write(&self, conn: &mut Conn) {
        let shared: Arc<[u8]> = vec![1; 50_000].into();
        match self.how {
            How::Bytes => conn.send(&shared),
            How::Shared => conn.send_shared(shared),
            How::Mixed => {
                conn.send(b"head");
                conn.send_shared(Arc::clone(&shared));
                conn.send(b"more");
                conn.send_shared(shared);
            }
            How::File => conn.send_file(Arc::clone(&self.file), 0, 50_000),
            How::BytesAndFile => {
                conn.send(b"head");
                conn.send_file(Arc::clone(&self.file), 0, 50_000);
            }
        }
    }
}

impl Protocol for Writes {
    fn on_open(&mut self, conn: &mut Conn, cx: &mut Cx) {
        // The pause lets a write notice the end: the peer has closed, and answers the first write
        // by a reset.
        conn.pause();
        std::thread::sleep(Duration::from_millis(50));
        self.on_room(conn, cx);
    }
    fn on_data(&mut self, _: &mut Conn, _: &mut Cx) {}
    fn on_room(&mut self, conn: &mut Conn, _: &mut Cx) {
        while !conn.is_congested() {
            self.write(conn);
        }
    }
    fn on_close(&mut self, reason: &CloseReason, _: &mut Cx) {
        let _ = self.closed.send(format!("{reason:?}"));
    }
}

fn main() {
    // SAFETY: the call takes numbers only, and `SIG_DFL` installs no handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let rt = dapple_io::runtime().workers(1).build().unwrap();
    let io = Io::of(&rt.handle());
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&vec![7; 50_000]).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    let file = Arc::new(file);
    for how in [How::Bytes, How::Shared, How::Mixed, How::File, How::BytesAndFile] {
        let (tx, rx) = mpsc::channel();
        let (tx, file) = (Mutex::new(tx), Arc::clone(&file));
        let serve = move |stream: dapple_io::tcp::TcpStream, cx: &mut Cx| {
            let closed = tx.lock().unwrap().clone();
            let writes = Writes { how, file: Arc::clone(&file), closed };
            stream.serve(&cx.new_color(), ConnOptions::default(), writes);
        };
        let listener =
            io.listen("127.0.0.1:0".parse().unwrap(), Accepting::PerWorker, serve).unwrap();
        let stream = TcpStream::connect(listener.local_addr()).unwrap();
        drop(stream);
        let closed = rx.recv_timeout(Duration::from_secs(60)).unwrap();
        println!("{how:?}: {closed}");
        assert!(closed.contains("BrokenPipe"), "{how:?}: {closed}");
    }
    // A stream, written to from a thread outside the runtime.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut stream = rt.block_on(io.connect(listener.local_addr().unwrap())).unwrap();
    drop(listener.accept().unwrap());
    let mut failed = 0;
    for _ in 0..6 {
        std::thread::sleep(Duration::from_millis(5));
        let slices = [IoSlice::new(b"x"), IoSlice::new(b"y")];
        failed += usize::from(rt.block_on(stream.write_vectored(&slices)).is_err());
        failed += usize::from(rt.block_on(stream.write(b"z")).is_err());
    }
    assert!(failed >= 10, "{failed}");
    // More slices than the system takes at once.
    let (theirs, address) = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (std::thread::spawn(move || listener.accept().unwrap().0), address)
    };
    let mut stream = rt.block_on(io.connect(address)).unwrap();
    let theirs = theirs.join().unwrap();
    let many = vec![IoSlice::new(b"ab"); 3_000];
    assert_eq!(rt.block_on(stream.write_vectored(&many)).unwrap(), 2_048);
    drop(theirs);
    println!("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
}
