//! RESP, the protocol of Redis (version 2): requests out of bytes, answers into bytes.

use std::ops::Range;

/// Arguments of a request.
const MOST_ARGS: usize = 1024;
/// Bytes of a request, for whoever sends it.
pub(crate) const MOST_BYTES: usize = 1 << 20;
/// Bytes of a line that is a request.
const MOST_LINE: usize = 64 << 10;

/// Why there is no request.
#[derive(Debug, PartialEq)]
pub(crate) enum Stop {
    /// Its end has not come.
    Partial,
    /// It is none, and nothing that follows can be understood.
    Wrong(&'static str),
}

/// Finds the first request of `input`: where its arguments lie, and how many bytes it has.
pub(crate) fn parse(input: &[u8], args: &mut Vec<Range<usize>>) -> Result<usize, Stop> {
    args.clear();
    if !matches!(input, [] | [b'*', ..]) {
        return parse_line(input, args);
    }
    let mut at = 0;
    let count = parse_number(input, &mut at, b'*', "invalid multibulk length")?;
    if count > MOST_ARGS {
        return Err(Stop::Wrong("more than 1024 arguments"));
    }
    for _ in 0..count {
        let bytes = parse_number(input, &mut at, b'$', "invalid bulk length")?;
        if at + bytes > MOST_BYTES {
            return Err(Stop::Wrong("a request is longer than 1 MiB"));
        }
        let end = at + bytes;
        match input.get(end..end + 2) {
            None => return Err(Stop::Partial),
            Some(b"\r\n") => args.push(at..end),
            Some(_) => return Err(Stop::Wrong("an argument does not end where it said")),
        }
        at = end + 2;
    }
    Ok(at)
}

/// A line like `$12\r\n`, of which `at` is the begin, and then the end.
fn parse_number(input: &[u8], at: &mut usize, sign: u8, wrong: &'static str) -> Result<usize, Stop> {
    if input.get(*at).is_some_and(|found| *found != sign) {
        return Err(Stop::Wrong(wrong));
    }
    let (first, mut number) = (*at + 1, 0);
    let mut end = first;
    // No more than ten, so that zeroes in front cannot go on for ever.
    while let Some(digit @ b'0'..=b'9') = input.get(end).filter(|_| end < first + 10) {
        number = number * 10 + usize::from(digit - b'0');
        end += 1;
    }
    match input.get(end..) {
        None | Some([]) => Err(Stop::Partial),
        Some([b'\r']) if end > first => Err(Stop::Partial),
        Some([b'\r', b'\n', ..]) if end > first => {
            *at = end + 2;
            Ok(number)
        }
        Some(_) => Err(Stop::Wrong(wrong)),
    }
}

/// What somebody types: words of a line.
fn parse_line(input: &[u8], args: &mut Vec<Range<usize>>) -> Result<usize, Stop> {
    let Some(end) = input.iter().take(MOST_LINE).position(|byte| *byte == b'\n') else {
        return Err(if input.len() < MOST_LINE { Stop::Partial } else { Stop::Wrong("too big inline request") });
    };
    let mut at = 0;
    for word in input[..end].split(u8::is_ascii_whitespace) {
        if !word.is_empty() && args.len() < MOST_ARGS {
            args.push(at..at + word.len());
        }
        at += word.len() + 1;
    }
    Ok(end + 1)
}

/// A text of a known length, such as a value.
pub(crate) fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    line(out, b'$', bytes.len() as i64);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// A line that is a sign and a number, as `:` has it for an answer and `*` for how many follow.
pub(crate) fn line(out: &mut Vec<u8>, sign: u8, number: i64) {
    out.push(sign);
    decimal(out, number);
    out.extend_from_slice(b"\r\n");
}

/// Without the machinery of `write!`, which takes longer than all else that a GET does.
pub(crate) fn decimal(out: &mut Vec<u8>, number: i64) {
    let (mut digits, mut at, mut rest) = ([0; 20], 20, number.unsigned_abs());
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// The number that an argument or a value is.
pub(crate) fn number(text: &[u8]) -> Option<i64> {
    str::from_utf8(text).ok()?.parse().ok()
}

/// An error, in a line.
pub(crate) fn error(out: &mut Vec<u8>, why: &str) {
    out.extend_from_slice(b"-ERR ");
    out.extend_from_slice(why.as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(input: &[u8]) -> Result<(usize, Vec<&[u8]>), Stop> {
        let mut args = Vec::new();
        let bytes = parse(input, &mut args)?;
        Ok((bytes, args.into_iter().map(|arg| &input[arg]).collect()))
    }

    #[test]
    fn a_request_is_found_when_it_is_whole_and_not_before() {
        let input = b"*2\r\n$3\r\nGET\r\n$2\r\n\r\n\r\nnext";
        for end in 0..input.len() - 4 {
            assert_eq!(words(&input[..end]), Err(Stop::Partial), "{end} bytes");
        }
        assert_eq!(words(input), Ok((21, vec![&b"GET"[..], b"\r\n"])));
        assert_eq!(words(b"*0\r\n*1\r\n"), Ok((4, vec![])));
        assert_eq!(words(b"  set a  b\r\nget"), Ok((12, vec![&b"set"[..], b"a", b"b"])));
        assert_eq!(words(b"\n"), Ok((1, vec![])));
        assert_eq!(words(&[b'x'; MOST_LINE - 1]), Err(Stop::Partial));
    }

    #[test]
    fn what_is_no_request_is_refused_before_all_of_it_has_come() {
        let line = [b'x'; MOST_LINE];
        for wrong in [
            &b"*x"[..],
            b"*\r",
            b"*-1",
            b"*1\r\n:",
            b"*1\rx",
            b"*1025\r\n",
            b"*99999999999999999999999",
            b"*1\r\n$1048577\r\n",
            b"*2\r\n$1\r\na\r\n$1048570\r\n",
            b"*00000000000",
            b"*1\r\n$1\r\naxx",
            &line,
        ] {
            assert!(matches!(words(wrong), Err(Stop::Wrong(_))), "{:?}", String::from_utf8_lossy(&wrong[..wrong.len().min(30)]));
        }
    }

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for n in [0, 7, 10, -1, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            decimal(&mut out, n);
            assert_eq!((String::from_utf8_lossy(&out).into_owned(), number(&out)), (n.to_string(), Some(n)));
        }
        assert_eq!((number(b"1x"), number(b"")), (None, None));
    }
}
