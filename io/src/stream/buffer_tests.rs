//! Tests of the buffers over real sockets: the bytes arrive in order, whatever their pieces are.
use std::io::{Read, Seek, Write};
use std::net::{TcpListener, TcpStream as StdStream};

use proptest::prelude::*;

use super::*;

fn pair() -> (Socket, StdStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = StdStream::connect(listener.local_addr().unwrap()).unwrap();
    let (theirs, _) = listener.accept().unwrap();
    ours.set_nonblocking(true).unwrap();
    (socket2::Socket::from(ours).into(), theirs)
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Shared(usize),
    File(usize),
    Flush(u64),
    Settle,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0usize..3_000).prop_map(Step::Append),
        1 => (1usize..300_000).prop_map(Step::Shared),
        1 => (1usize..300_000).prop_map(Step::File),
        2 => (1u64..400_000).prop_map(Step::Flush),
        1 => Just(Step::Settle),
    ];
    prop::collection::vec(step, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn output_keeps_order_and_counts_its_bytes(steps in steps()) {
        let (ours, mut theirs) = pair();
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).unwrap();
            all
        });
        let mut expected = Vec::new();
        let mut output = Output::default();
        for (n, step) in steps.into_iter().enumerate() {
            let piece = |len: usize| -> Vec<u8> { (0..len).map(|i| (i * 7 + n) as u8).collect() };
            match step {
                Step::Append(len) => {
                    output.append(|tail| tail.extend_from_slice(&piece(len)));
                    expected.extend(piece(len));
                }
                Step::Shared(len) => {
                    output.shared(piece(len).into());
                    expected.extend(piece(len));
                }
                Step::File(len) => {
                    let mut file = tempfile::tempfile().unwrap();
                    file.write_all(b"skipped").unwrap();
                    file.write_all(&piece(len)).unwrap();
                    file.rewind().unwrap();
                    assert!(output.file(Arc::new(file), 7, len as u64));
                    expected.extend(piece(len));
                }
                Step::Flush(budget) => drop(output.flush(&ours, budget).unwrap()),
                Step::Settle => output.settle(),
            }
        }
        while output.flush(&ours, u64::MAX).unwrap() != Flushed::All {
            std::thread::yield_now();
        }
        prop_assert_eq!(output.len(), 0);
        drop(ours);
        let got = reader.join().unwrap();
        prop_assert!(got == expected, "{} bytes, expected {}", got.len(), expected.len());
    }
}

#[test]
fn input_keeps_what_is_left_over_events_of_any_size() {
    let (ours, mut theirs) = pair();
    let sent: Vec<u8> = (0..500_000u32).map(|i| (i / 3) as u8).collect();
    let copy = sent.clone();
    let writer = std::thread::spawn(move || {
        theirs.write_all(&copy).unwrap();
    });
    let mut input = Input::default();
    let mut got = Vec::new();
    let mut step = 1;
    loop {
        let filled = input.fill(|buf| ours.read(buf)).unwrap();
        // Consumes about half of the input.
        let n = input.bytes().len().div_ceil(2);
        got.extend_from_slice(&input.bytes()[..n]);
        input.consume(n);
        step += 1;
        if step % 3 == 0 {
            input.settle();
        }
        match filled {
            Filled::Eof => break,
            Filled::Nothing => std::thread::yield_now(),
            Filled::Full | Filled::Drained => {}
        }
    }
    got.extend_from_slice(input.bytes());
    writer.join().unwrap();
    assert!(got == sent);
    input.clear();
    input.settle();
    assert!(input.bytes().is_empty());
}

#[test]
fn a_file_that_was_cut_short_is_an_error() {
    let (ours, _theirs) = pair();
    let mut output = Output::default();
    assert!(output.file(Arc::new(tempfile::tempfile().unwrap()), 0, 10));
    assert!(!output.file(Arc::new(tempfile::tempfile().unwrap()), u64::MAX, 10));
    let error = output.flush(&ours, u64::MAX).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}
