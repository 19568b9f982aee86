//! An echo server: `cargo run --release -p lcore --example echo`, then `nc 127.0.0.1 9999`. Takes
//! another address as its argument.
use lcore::net::{Events, GroupConfig, NetEvent, SockOptions, Token};
use lcore::pool::BufGroup;
use lcore::{App, Cx, Polled, Schedule};

fn main() -> std::process::ExitCode {
    App::new("echo").network().run(|cx, app| {
        let mut group = app.net().group(cx, GroupConfig::new(BufGroup::new(256, 16384)))?;
        let at = std::env::args().nth(1).unwrap_or("127.0.0.1:9999".into());
        let at = at.parse().map_err(|_| format!("{at:?} is no address with a port, such as 127.0.0.1:9999"))?;
        let listener = app.net().listen(at, &SockOptions::default())?;
        app.println(format_args!("echoes at {}", listener.local_addr()?));
        group.attach(listener, Token(0))?;
        let mut events = Events::new(64);
        cx.local_poller("echo", Schedule::WhenAwake, move |cx: &mut Cx<'_>| {
            if cx.is_exiting() {
                return Polled::Done;
            }
            if group.poll(&mut events) == 0 {
                return Polled::Idle;
            }
            for event in events.drain() {
                match event {
                    NetEvent::Accepted { socket, .. } => drop(group.attach(socket, Token(0))),
                    NetEvent::Received { id, buf, .. } => drop(group.send(id, buf.into()).or_else(|_| group.abort(id))),
                    NetEvent::PeerClosed { id, .. } => drop(group.shutdown(id)),
                    _ => {}
                }
            }
            Polled::Busy
        });
        Ok(())
    })
}
