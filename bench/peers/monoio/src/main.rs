//! An echo server on monoio over io_uring: a task for each connection.
#![forbid(unsafe_code)]

use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};
use monoio::{IoUringDriver, RuntimeBuilder};
use peer_common::BUFFER;

fn main() -> anyhow::Result<()> {
    let args = peer_common::Args::parse();
    args.pin()?;
    let mut runtime = RuntimeBuilder::<IoUringDriver>::new().with_entries(4096).build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(args.listen()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            monoio::spawn(echo(stream));
        }
    })
}

/// Ends with the connection, whether it was closed or broke.
async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buf = Vec::with_capacity(BUFFER);
    loop {
        let (n, filled) = stream.read(buf).await;
        if n? == 0 {
            return stream.shutdown().await;
        }
        let (written, back) = stream.write_all(filled).await;
        written?;
        buf = back;
    }
}
