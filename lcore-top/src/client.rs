//! A client of JSON-RPC 2.0 as SPDK speaks it: values back to back, no framing. One call at a time,
//! each with a deadline, so that an application that does not answer holds nobody up for long.

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::str::FromStr;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::de::{IoRead, StreamDeserializer};
use serde_json::{Deserializer, Value, json};
use socket2::{Domain, SockAddr, Socket, Type};

/// How long an answer is waited for, and a connection.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);
/// Bytes of an answer: SPDK's servers answer no more.
const MOST: usize = 32 << 20;
/// Bytes that the path of a socket has at most.
const PATH: usize = 107;
/// The port of SPDK's servers.
const PORT: u16 = 5260;

/// Where an application serves. What begins with `/` is the path of a socket, all else an IP
/// address with or without a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

impl Address {
    /// Where SPDK's applications serve if they are told nothing else.
    pub(crate) const DEFAULT: &'static str = "/var/tmp/spdk.sock";
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with('/') {
            return match text.len() {
                ..=PATH if !text.contains('\0') => Ok(Self::Unix(text.into())),
                ..=PATH => Err("a path has no zero byte in it".into()),
                long => Err(format!("{long} bytes, and the path of a socket has {PATH} at most")),
            };
        }
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let with_port = || Some(SocketAddr::new(bare.parse::<IpAddr>().ok()?, PORT));
        let at = text.parse().ok().or_else(with_port);
        at.map(Self::Tcp).ok_or_else(|| "neither a path that begins with / nor an IP address, with or without :PORT".into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp(at) => write!(f, "{at}"),
        }
    }
}

/// Why a call has no result.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CallError {
    /// The application has no such method.
    Missing,
    /// It answers with an error.
    Refused(String),
    /// The connection is of no more use.
    Lost(String),
}

/// A connection. It is for the thread that made it.
pub(crate) struct Client {
    at: String,
    socket: Socket,
    answers: StreamDeserializer<'static, IoRead<BufReader<Answers>>, Answer>,
    budget: Rc<Budget>,
    patience: Duration,
    calls: u64,
}

/// What the bytes of an answer may take.
struct Budget {
    until: Cell<Instant>,
    bytes: Cell<usize>,
}

/// The bytes of answers, within the budget.
struct Answers {
    socket: Socket,
    budget: Rc<Budget>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    result: Value,
    error: Option<AnsweredError>,
}

#[derive(Deserialize)]
struct AnsweredError {
    code: i64,
    #[serde(default)]
    message: String,
}

impl Client {
    /// Connects, and waits `patience` at most, for this as for each answer.
    pub(crate) fn connect(at: &Address, patience: Duration) -> Result<Self, String> {
        let socket = connect(at, patience).map_err(|why| match why.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => format!("{at}: nobody accepts the connection within {patience:?}"),
            io::ErrorKind::NotFound => format!("{at}: there is no such socket; start the application, or say with -r where it serves"),
            io::ErrorKind::ConnectionRefused => format!("{at}: nobody serves there; start the application, or say with -r where it serves"),
            _ => format!("connect to {at}: {why}"),
        })?;
        let budget = Rc::new(Budget { until: Cell::new(Instant::now()), bytes: Cell::new(0) });
        let reading = socket.try_clone().map_err(|why| format!("{at}: {why}"))?;
        let answers = Answers { socket: reading, budget: budget.clone() };
        let answers = Deserializer::from_reader(BufReader::new(answers)).into_iter();
        Ok(Self { at: at.to_string(), socket, answers, budget, patience, calls: 0 })
    }

    /// Calls a method without parameters.
    pub(crate) fn call(&mut self, method: &str) -> Result<Value, CallError> {
        self.calls += 1;
        self.budget.until.set(Instant::now() + self.patience);
        self.budget.bytes.set(MOST);
        let call = format!("{}\n", json!({"jsonrpc": "2.0", "id": self.calls, "method": method}));
        self.socket.write_all(call.as_bytes()).map_err(|why| CallError::Lost(self.lost(method, &why)))?;
        loop {
            let answer = match self.answers.next() {
                Some(Ok(answer)) => answer,
                Some(Err(why)) if why.is_io() => return Err(CallError::Lost(self.lost(method, &why.into()))),
                Some(Err(why)) if !why.is_eof() => {
                    return Err(CallError::Lost(format!("{}: what {method} answers is not JSON-RPC: {why}", self.at)));
                }
                Some(Err(_)) | None => return Err(CallError::Lost(format!("{}: the application has closed the connection", self.at))),
            };
            // An error without an id is for the only call there is.
            if answer.id == self.calls || (answer.id.is_null() && answer.error.is_some()) {
                return answer.outcome();
            }
        }
    }

    fn lost(&self, method: &str, why: &io::Error) -> String {
        match why.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                format!("{}: no answer to {method} within {:?}: is the application stopped?", self.at, self.patience)
            }
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => format!("{}: the application has closed the connection", self.at),
            _ => format!("{}: {why}", self.at),
        }
    }
}

impl Answer {
    fn outcome(self) -> Result<Value, CallError> {
        match self.error {
            None => Ok(self.result),
            Some(AnsweredError { code: -32601, .. }) => Err(CallError::Missing),
            Some(AnsweredError { code, message }) => Err(CallError::Refused(format!("{message} (error {code})"))),
        }
    }
}

impl Read for Answers {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.budget.until.get().saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let room = self.budget.bytes.get();
        if room == 0 {
            return Err(io::Error::other(format!("an answer of more than {} MiB", MOST >> 20)));
        }
        self.socket.set_read_timeout(Some(left))?;
        let most = buf.len().min(room);
        let count = self.socket.read(&mut buf[..most])?;
        self.budget.bytes.set(room - count);
        Ok(count)
    }
}

fn connect(at: &Address, patience: Duration) -> io::Result<Socket> {
    let (domain, to) = match at {
        Address::Unix(path) => (Domain::UNIX, SockAddr::unix(path)?),
        Address::Tcp(at) => (Domain::for_address(*at), SockAddr::from(*at)),
    };
    let socket = Socket::new(domain, Type::STREAM, None)?;
    // A server that accepts no more would hold a connect up, and one that reads no more a call.
    socket.set_write_timeout(Some(patience))?;
    match at {
        Address::Unix(_) => socket.connect(&to)?,
        Address::Tcp(_) => socket.connect_timeout(&to, patience)?,
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// What a client says of one call, where the server writes `answer` and closes if it is to.
    fn ask(answer: &[u8], close: bool) -> Result<Value, CallError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = Address::Tcp(listener.local_addr().unwrap());
        let mut client = Client::connect(&at, Duration::from_millis(if close { 60_000 } else { 50 })).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(answer).unwrap();
        let server = (!close).then_some(server);
        let outcome = client.call("m");
        drop(server);
        outcome
    }

    #[test]
    fn answers_are_told_apart() {
        let lost = |part: &str, outcome| match outcome {
            Err(CallError::Lost(why)) => assert!(why.contains(part), "{why}"),
            other => panic!("{other:?} where {part:?} was expected"),
        };
        assert_eq!(ask(br#"{"jsonrpc":"2.0","id":1,"result":{"a":[1]}}"#, true), Ok(json!({"a": [1]})));
        // Another call's comes first, in the same piece; white space is free.
        assert_eq!(ask(b"\n {\"id\":9,\"result\":1}{\"id\":1,\n\"result\":2}\n", true), Ok(json!(2)));
        assert_eq!(ask(br#"{"id":1,"error":{"code":-32601,"message":"Method not found"}}"#, true), Err(CallError::Missing));
        let refused = CallError::Refused("not now (error -1)".into());
        assert_eq!(ask(br#"{"id":null,"error":{"code":-1,"message":"not now"}}"#, true), Err(refused));
        lost("closed", ask(b"", true));
        lost("closed", ask(br#"{"id":1,"resu"#, true));
        lost("not JSON-RPC", ask(b"HTTP/1.1 400 Bad Request\r\n", true));
        lost("not JSON-RPC", ask(b"[1]", true));
        lost("no answer to m", ask(b"", false));
        lost("no answer to m", ask(br#"{"id":7,"result":1}"#, false));
        lost("not JSON-RPC", ask("[".repeat(100_000).as_bytes(), true));
    }

    #[test]
    fn an_answer_without_an_end_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = Client::connect(&Address::Tcp(listener.local_addr().unwrap()), Duration::from_secs(60)).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let server = thread::spawn(move || while server.write_all(&[b' '; 1 << 16]).is_ok() {});
        assert!(matches!(client.call("m"), Err(CallError::Lost(why)) if why.contains("32 MiB")));
        drop(client);
        server.join().unwrap();
    }

    #[test]
    fn a_server_that_accepts_no_more_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let _listener = UnixListener::bind(&path).unwrap();
        let at = Address::Unix(path);
        // Its queue is full at some time: a connect then waits for ever, but for the deadline.
        let connect = || Client::connect(&at, Duration::from_millis(10));
        let (mut clients, mut why) = (Vec::new(), None);
        while why.is_none() {
            assert!(clients.len() < 100_000);
            match connect() {
                Ok(client) => clients.push(client),
                Err(said) => why = Some(said),
            }
        }
        assert!(why.unwrap().contains("nobody accepts"));
    }

    #[test]
    fn addresses_are_read_as_servers_read_them() {
        let tcp = |text: &str| Address::Tcp(text.parse().unwrap());
        assert_eq!("/s".parse(), Ok(Address::Unix("/s".into())));
        assert_eq!("127.0.0.1".parse(), Ok(tcp("127.0.0.1:5260")));
        assert_eq!("127.0.0.1:9".parse(), Ok(tcp("127.0.0.1:9")));
        assert_eq!("::1".parse(), Ok(tcp("[::1]:5260")));
        assert_eq!("[::1]:9".parse(), Ok(tcp("[::1]:9")));
        assert_eq!("[::1]".parse(), Ok(tcp("[::1]:5260")));
        assert!(format!("/{}", "x".repeat(106)).parse::<Address>().is_ok());
        for wrong in ["", "s", "localhost", "127.0.0.1:x", "127.0.0.1:70000", &format!("/{}", "x".repeat(107)), "/\0"] {
            wrong.parse::<Address>().unwrap_err();
        }
    }
}
