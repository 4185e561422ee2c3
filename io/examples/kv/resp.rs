//! The protocol of Redis, in which requests are arrays of strings.

use dapple_io::codec::{Codec, Decoded, EncodeError};

/// The maximum length of a request, in bytes.
pub const MOST: usize = 1024 * 1024;

/// The maximum number of strings in a request. All of them are parsed again when more of the
/// request arrives.
const MOST_STRINGS: usize = 1024;

/// A request: the command and its arguments.
pub type Request = Vec<Vec<u8>>;

/// The codec of a server: it decodes requests, and sends replies as they are.
pub struct Requests;

impl Codec for Requests {
    fn decode(&self, input: &[u8], _: usize) -> Decoded {
        match strings(input) {
            Ok(Some((_, taken))) => Decoded::Message { message: 0..taken, taken },
            Ok(None) if input.len() > MOST => Decoded::Invalid("a request is too long"),
            Ok(None) => Decoded::Incomplete,
            Err(why) => Decoded::Invalid(why),
        }
    }

    fn encode(&self, reply: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(reply);
        Ok(())
    }

    fn room(&self) -> usize {
        MOST
    }
}

/// Returns the request at the front of `input` and its length in bytes, or `None` if it is
/// incomplete or invalid.
pub fn request(input: &[u8]) -> Option<(Request, usize)> {
    let (strings, taken) = strings(input).ok()??;
    Some((strings.into_iter().map(<[u8]>::to_vec).collect(), taken))
}

type Strings<'a> = (Vec<&'a [u8]>, usize);

fn strings(input: &[u8]) -> Result<Option<Strings<'_>>, &'static str> {
    let mut at = 0;
    // Parses a line that consists of `sign` and a number.
    let number = |at: &mut usize, sign: u8| {
        let rest = &input[*at..];
        let Some(end) = rest.windows(2).take(32).position(|two| two == b"\r\n") else {
            return if rest.len() < 32 { Ok(None) } else { Err("a number is too long") };
        };
        let line = &rest[..end];
        *at += end + 2;
        let digits = line.strip_prefix(&[sign]).and_then(|rest| std::str::from_utf8(rest).ok());
        let number = digits.and_then(|digits| digits.parse::<usize>().ok());
        match number.ok_or("not a request")? {
            number if number > MOST => Err("a request is too long"),
            number => Ok(Some(number)),
        }
    };
    let Some(count) = number(&mut at, b'*')? else { return Ok(None) };
    if count > MOST_STRINGS {
        return Err("a request has too many strings");
    }
    let mut all = Vec::new();
    for _ in 0..count {
        let Some(length) = number(&mut at, b'$')? else { return Ok(None) };
        let Some(string) = input.get(at..at + length + 2) else { return Ok(None) };
        all.push(string.strip_suffix(b"\r\n").ok_or("a string does not end with CRLF")?);
        at += length + 2;
    }
    Ok(Some((all, at)))
}

/// Returns a reply that is a string, or the reply that says that there is none.
pub fn bulk(value: Option<&[u8]>) -> Vec<u8> {
    match value {
        Some(value) => [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat(),
        None => b"$-1\r\n".to_vec(),
    }
}

/// Returns a reply that is a number.
pub fn number(n: i64) -> Vec<u8> {
    format!(":{n}\r\n").into_bytes()
}

/// Returns a request as clients send it.
pub fn array(strings: &[&[u8]]) -> Vec<u8> {
    let head = format!("*{}\r\n", strings.len()).into_bytes();
    let strings = strings.iter().map(|string| bulk(Some(string)));
    std::iter::once(head).chain(strings).flatten().collect()
}
