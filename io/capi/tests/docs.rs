//! The programs in docs/C.md and docs/LIBEVENT.md compile, and do what the pages say.
mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{Linked, compile_path, output_of};

/// Returns the programs of a page that are written in `language`.
fn programs(page: &str, language: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page);
    let text = std::fs::read_to_string(path).unwrap();
    let begin = format!("```{language}\n");
    let blocks = text.split(&begin).skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// Compiles a program that is linked to the library.
fn compiled(text: &str, name: &str, linked: Linked) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("docs-sources");
    std::fs::create_dir_all(&folder).unwrap();
    let source = folder.join(name);
    std::fs::write(&source, text).unwrap();
    compile_path(&source, linked, &[])
}

#[test]
fn the_programs_for_c_print_what_the_page_says() {
    let [c] = programs("C.md", "c").try_into().unwrap();
    let [two, libasync] = programs("C.md", "cpp").try_into().unwrap();
    for (text, name, printed) in [
        (c, "sums.c", "500 and 500\n"),
        (two, "two.cpp", "a callable may own what it uses\n"),
        (libasync, "libasync.cpp", "500000500000\n"),
    ] {
        let Some(program) = compiled(&text, name, Linked::Alone) else { return };
        assert_eq!(output_of(&program), printed, "{name}");
        let statically = compiled(&text, name, Linked::Statically).unwrap();
        assert_eq!(output_of(&statically), printed, "{name}, linked statically");
    }
}

/// A process that is killed when the test ends, passed or failed.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_echo_server_of_libevent_answers() {
    let [echo] = programs("LIBEVENT.md", "c").try_into().unwrap();
    let Some(program) = compiled(&echo, "echo.c", Linked::BeforeLibevent) else { return };
    let server = Command::new(program).stdin(Stdio::null()).spawn().unwrap();
    let mut server = Ended(server);
    let mut stream = None;
    for _ in 0..200 {
        stream = TcpStream::connect("127.0.0.1:7007").ok();
        if stream.is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut stream = stream.unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"hello\n").unwrap();
    let mut answer = [0; 6];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello\n");
    assert_eq!(server.0.try_wait().unwrap(), None, "another program answers at this port");
}
