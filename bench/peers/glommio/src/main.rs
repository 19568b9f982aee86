//! An echo server on glommio over io_uring: a task for each connection.
#![forbid(unsafe_code)]

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::net::{TcpListener, TcpStream};
use glommio::{LocalExecutorBuilder, Placement};
use peer_common::{BUFFER, announce};

fn main() -> anyhow::Result<()> {
    let args = peer_common::Args::parse();
    args.pin()?;
    let placement = args.core.map_or(Placement::Unbound, Placement::Fixed);
    let executor = LocalExecutorBuilder::new(placement).make().map_err(|e| anyhow::anyhow!("{e}"))?;
    executor.run(async {
        let listener = TcpListener::bind(args.at()).map_err(|e| anyhow::anyhow!("{e}"))?;
        announce(listener.local_addr().map_err(|e| anyhow::anyhow!("{e}"))?);
        loop {
            let stream = listener.accept().await.map_err(|e| anyhow::anyhow!("{e}"))?;
            glommio::spawn_local(echo(stream)).detach();
        }
    })
}

/// Ends with the connection, whether it was closed or broke.
async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let _ = stream.set_nodelay(true);
    let mut buf = vec![0; BUFFER];
    loop {
        let n = stream.read(&mut buf).await?;
        if n == 0 {
            return stream.close().await;
        }
        stream.write_all(&buf[..n]).await?;
    }
}
