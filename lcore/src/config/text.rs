//! The file's text: from whatever it is, and without its comments.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Bytes that a file has at most: a device that never ends is given up where no configuration
/// reaches.
const MOST: u64 = 1 << 20;
/// How long all of it takes at most: a pipe has its bytes when its writer has written them.
pub(super) const IN_TIME: Duration = Duration::from_secs(10);

/// All of the file, whatever it is: `-c <(…)` names a pipe.
pub(super) fn read(path: &Path, in_time: Duration) -> io::Result<String> {
    let (tell, told) = mpsc::channel();
    let of = path.to_owned();
    // A thread may wait for ever in opening a pipe that nobody writes; it is left to that, and ends
    // with the program.
    thread::Builder::new().name("config".into()).spawn(move || {
        // Who no longer waits for it has said why.
        let _ = tell.send(bytes(&of));
    })?;
    let bytes = match told.recv_timeout(in_time) {
        Ok(bytes) => bytes?,
        Err(RecvTimeoutError::Timeout) => {
            let why = format!("it has not come to its end within {in_time:?}; a pipe does when its writer closes it");
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("its reader panicked")),
    };
    if bytes.len() as u64 > MOST {
        return Err(io::Error::other(format!("more than {MOST} bytes, which no configuration has")));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("not UTF-8, which JSON is"))
}

/// The file's bytes, and one more where those are too many.
fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The same text with blanks in place of comments, so that every byte stays where it is. The error
/// is where a comment begins that has no end.
pub(super) fn without_comments(text: &str) -> Result<String, usize> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let taken = match next {
            '"' => string(rest),
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => 2 + rest[2..].find("*/").ok_or(text.len() - rest.len())? + 2,
            _ => next.len_utf8(),
        };
        let (piece, behind) = rest.split_at(taken);
        match next {
            '/' if taken > 1 => piece.bytes().for_each(|byte| out.push(if byte == b'\n' { '\n' } else { ' ' })),
            _ => out.push_str(piece),
        }
        rest = behind;
    }
    Ok(out)
}

/// Bytes of the string that `text` begins with; what has no end is the parser's to tell.
fn string(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    });
    end.map_or(text.len(), |at| at + 2)
}

/// Where the lines of a text begin.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        Self([0].into_iter().chain(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1)).collect())
    }

    /// The line and the column of a byte, both from 1 on.
    pub(super) fn place(&self, byte: usize) -> (usize, usize) {
        let line = self.0.partition_point(|begin| *begin <= byte);
        (line, byte - self.0[line - 1] + 1)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Write, pipe};
    use std::os::fd::AsRawFd;

    use super::*;

    /// Nothing that is waited for takes this long, on any machine.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn s99_what_a_shell_puts_in_place_of_a_file_is_read_to_its_end() {
        let (reader, mut writer) = pipe().unwrap();
        let name = format!("/proc/self/fd/{}", reader.as_raw_fd());
        let reading = thread::spawn(move || read(Path::new(&name), PATIENCE));
        for part in ["{\"busy_poll\"", ": true}"] {
            writer.write_all(part.as_bytes()).unwrap();
        }
        drop(writer);
        assert_eq!(reading.join().unwrap().unwrap(), "{\"busy_poll\": true}");
        drop(reader);
    }

    #[test]
    fn s99_a_pipe_without_a_writer_or_an_end_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
        let (reader, mut writer) = pipe().unwrap();
        writer.write_all(b"{}").unwrap();
        let open = format!("/proc/self/fd/{}", reader.as_raw_fd());
        for path in [fifo.as_path(), Path::new(&open)] {
            let why = read(path, Duration::from_millis(1)).unwrap_err();
            assert!(why.to_string().contains("not come to its end within 1ms"), "{}: {why}", path.display());
        }
        // The thread that opens it goes on, and ends.
        File::options().read(true).write(true).open(&fifo).unwrap();
    }

    #[test]
    fn s197_comments_become_blanks_and_nothing_moves() {
        for (text, blank) in [
            ("", ""),
            ("// all\n{} // ü", "      \n{}      "),
            ("{/* a\n b */\"k\"/**/:1}", "{    \n     \"k\"    :1}"),
            (r#"{"a//b": "/* no */", "\"//": "\\"} //"#, r#"{"a//b": "/* no */", "\"//": "\\"}   "#),
            ("/*/ */1", "      1"),
            ("1/2 /", "1/2 /"),
            ("\"no end // \\\"", "\"no end // \\\""),
        ] {
            assert_eq!(without_comments(text).as_deref(), Ok(blank), "{text:?}");
            assert_eq!(blank.len(), text.len());
        }
        for (text, at) in [("{}\n /* and", 4), ("/*/", 0), ("\"/*\" /*", 5)] {
            assert_eq!(without_comments(text), Err(at), "{text:?}");
        }
    }

    #[test]
    fn lines_and_columns_begin_with_1() {
        let lines = Lines::of("a\n\nbc");
        assert_eq!([0, 1, 2, 3, 4, 5].map(|byte| lines.place(byte)), [(1, 1), (1, 2), (2, 1), (3, 1), (3, 2), (3, 3)]);
    }
}
