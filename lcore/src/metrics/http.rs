//! HTTP/1.1, as much as a page of metrics needs: what is asked, and the head of an answer.

use super::page;

/// Bytes that the head of a request may have.
pub(super) const HEAD: usize = 8 << 10;
/// Lines that it may have.
const HEADERS: usize = 64;

/// What came of a look at what has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Not all of a head yet.
    Nothing,
    /// A request, of so many bytes.
    Request {
        /// What is to be answered.
        what: What,
        /// Bytes of its head.
        bytes: usize,
        /// Whether another may follow.
        goes_on: bool,
    },
}

/// What is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The page, or its head alone.
    Page {
        /// Whether the page itself is wanted.
        with_body: bool,
    },
    /// What is wrong.
    Wrong(Wrong),
}

/// Why there is no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    BadRequest,
    NotFound,
    NotAllowed,
    TooLarge,
}

impl Wrong {
    fn status(self) -> &'static str {
        match self {
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::NotAllowed => "405 Method Not Allowed",
            Self::TooLarge => "431 Request Header Fields Too Large",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::BadRequest => "This is no request of HTTP/1.1.\n",
            Self::NotFound => "The metrics are at /metrics.\n",
            Self::NotAllowed => "The metrics can be read, by GET.\n",
            Self::TooLarge => "A request has up to 8 KiB and 64 headers here.\n",
        }
    }
}

/// Looks at what has arrived.
pub(super) fn look(arrived: &[u8]) -> Asked {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let last = |wrong| Asked::Request { what: What::Wrong(wrong), bytes: arrived.len(), goes_on: false };
    match request.parse(arrived) {
        Ok(httparse::Status::Complete(bytes)) if bytes <= HEAD => asked(&request, bytes),
        Ok(httparse::Status::Partial) if arrived.len() < HEAD => Asked::Nothing,
        Ok(_) | Err(httparse::Error::TooManyHeaders) => last(Wrong::TooLarge),
        Err(_) => last(Wrong::BadRequest),
    }
}

fn asked(request: &httparse::Request<'_, '_>, bytes: usize) -> Asked {
    let is_11 = request.version == Some(1);
    let values = |name: &'static str| request.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    let closes = values("connection").any(|header| has_word(header.value, "close"));
    // What follows would have to be passed over; nobody sends it who is after a page.
    let has_body = values("transfer-encoding").next().is_some() || values("content-length").any(|header| header.value != b"0");
    let path = request.path.unwrap_or_default().split('?').next();
    let what = match request.method {
        _ if is_11 && values("host").count() != 1 => What::Wrong(Wrong::BadRequest),
        Some("GET" | "HEAD") if path != Some("/metrics") => What::Wrong(Wrong::NotFound),
        Some("GET") => What::Page { with_body: true },
        Some("HEAD") => What::Page { with_body: false },
        _ => What::Wrong(Wrong::NotAllowed),
    };
    let goes_on = is_11 && !closes && !has_body && what != What::Wrong(Wrong::BadRequest);
    Asked::Request { what, bytes, goes_on }
}

/// Whether a list has a word.
fn has_word(list: &[u8], word: &str) -> bool {
    list.split(|byte| *byte == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}

/// The head of an answer with the page.
pub(super) fn head(page: usize, goes_on: bool) -> String {
    answer("200 OK", page::TYPE, page, "", goes_on)
}

/// All of an answer without it.
pub(super) fn refusal(wrong: Wrong, goes_on: bool) -> String {
    let allow = if wrong == Wrong::NotAllowed { "Allow: GET, HEAD\r\n" } else { "" };
    answer(wrong.status(), "text/plain; charset=utf-8", wrong.text().len(), allow, goes_on) + wrong.text()
}

fn answer(status: &str, kind: &str, bytes: usize, more: &str, goes_on: bool) -> String {
    let close = if goes_on { "" } else { "Connection: close\r\n" };
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {bytes}\r\n{more}{close}\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: What = What::Page { with_body: true };

    #[test]
    fn s190_a_request_is_a_page_or_what_is_wrong_with_it() {
        let wrong = What::Wrong;
        for (text, what, goes_on) in [
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", PAGE, true),
            ("GET /metrics?a=b HTTP/1.1\r\nhost: x\r\nAccept: */*\r\n\r\n", PAGE, true),
            ("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n", What::Page { with_body: false }, true),
            ("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: Keep-Alive, Close\r\n\r\n", PAGE, false),
            ("GET /metrics HTTP/1.0\r\n\r\n", PAGE, false),
            ("GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", PAGE, false),
            ("GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", PAGE, true),
            ("GET /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", PAGE, false),
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", wrong(Wrong::NotFound), true),
            ("GET /metricsx HTTP/1.1\r\nHost: x\r\n\r\n", wrong(Wrong::NotFound), true),
            ("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx", wrong(Wrong::NotAllowed), false),
            ("BREW / HTTP/1.1\r\nHost: x\r\n\r\n", wrong(Wrong::NotAllowed), true),
            ("GET /metrics HTTP/1.1\r\n\r\n", wrong(Wrong::BadRequest), false),
            ("GET /metrics HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", wrong(Wrong::BadRequest), false),
            ("GET /metrics HTTP/2.0\r\nHost: x\r\n\r\n", wrong(Wrong::BadRequest), false),
            ("\u{16}\u{3}\u{1}", wrong(Wrong::BadRequest), false),
        ] {
            let Asked::Request { what: told, goes_on: on, .. } = look(text.as_bytes()) else { panic!("{text:?}") };
            assert_eq!((told, on), (what, goes_on), "{text:?}");
        }
    }

    #[test]
    fn s190_a_head_has_bounds_and_what_follows_it_is_left() {
        assert_eq!(look(b"GET /metrics HTTP/1.1\r\nHost"), Asked::Nothing);
        assert_eq!(look(b""), Asked::Nothing);
        let two = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2);
        assert_eq!(look(two.as_bytes()), Asked::Request { what: PAGE, bytes: two.len() / 2, goes_on: true });
        let of = |headers: usize, bytes: usize, end: &str| {
            let lines = "a: b\r\n".repeat(headers - 2);
            let start = format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{lines}z: ");
            let fill = "x".repeat(bytes - start.len() - end.len());
            look(format!("{start}{fill}{end}").as_bytes())
        };
        let is_page = |asked| matches!(asked, Asked::Request { what: PAGE, .. });
        let too_large = |bytes| Asked::Request { what: What::Wrong(Wrong::TooLarge), bytes, goes_on: false };
        assert!(is_page(of(2, HEAD, "\r\n\r\n")) && is_page(of(64, 1_000, "\r\n\r\n")));
        assert_eq!(of(2, HEAD + 1, "\r\n\r\n"), too_large(HEAD + 1));
        assert_eq!(of(65, 1_000, "\r\n\r\n"), too_large(1_000));
        assert_eq!((of(2, HEAD - 1, ""), of(2, HEAD, "")), (Asked::Nothing, too_large(HEAD)));
    }
}
