//! Prints dapple's verdicts on requests (`verdicts http`) or documents (`verdicts xml`). Each line
//! of the standard input is an input in hexadecimal digits, and each line of the output is its
//! verdict.

use std::io::{self, BufRead, Write};

fn main() -> io::Result<()> {
    let kind = std::env::args().nth(1).expect("http or xml");
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let verdict = dapple_apps::fuzzing::verdict(&kind, &bytes(&line?));
        writeln!(out, "{}", verdict.escape_default())?;
        out.flush()?;
    }
    Ok(())
}

fn bytes(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("hexadecimal digits");
        u8::from_str_radix(pair, 16).expect("hexadecimal digits")
    };
    pairs.map(byte).collect()
}
