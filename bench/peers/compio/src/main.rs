//! An echo server on compio over io_uring: a task for each connection.
#![forbid(unsafe_code)]

use compio::BufResult;
use compio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use compio::net::{TcpListener, TcpStream};
use compio::runtime::Runtime;
use peer_common::BUFFER;

fn main() -> anyhow::Result<()> {
    let args = peer_common::Args::parse();
    args.pin()?;
    Runtime::new()?.block_on(async {
        let listener = TcpListener::from_std(args.listen()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            compio::runtime::spawn(echo(stream)).detach();
        }
    })
}

/// Ends with the connection, whether it was closed or broke.
async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buf = Vec::with_capacity(BUFFER);
    loop {
        buf.clear();
        let BufResult(n, filled) = stream.read(buf).await;
        if n? == 0 {
            return stream.shutdown().await;
        }
        let BufResult(written, back) = stream.write_all(filled).await;
        written?;
        buf = back;
    }
}
