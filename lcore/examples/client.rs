//! A client: sends its words to a server, ends its side, and prints what comes back.
//!
//! It shows how to connect, send more than a peer takes at once, half-close, and end the program
//! with a code that says how it went. With the example `echo` running:
//!
//! ```sh
//! cargo run --release -p lcore --example client -- 127.0.0.1:9999 hello there
//! ```

use lcore::net::{Events, GroupConfig, NetEvent, SockGroup, SockId, SockOptions, Token};
use lcore::pool::BufGroup;
use lcore::{App, Cx, Polled, Schedule};

fn main() -> std::process::ExitCode {
    let mut args = std::env::args().skip(1);
    let to = args.next().unwrap_or("127.0.0.1:9999".into());
    let words: Vec<String> = args.collect();
    App::new("client").network().run(move |cx, app| {
        let to = to.parse().map_err(|_| format!("{to:?} is no address with a port, such as 127.0.0.1:9999"))?;
        let mut group = app.net().group(cx, GroupConfig::new(BufGroup::new(16, 16384)))?;
        let id = group.attach(app.net().connect(&[to], &SockOptions::default())?, Token(0))?;
        let (app, mut events, mut answer) = (app.clone(), Events::new(64), Vec::new());
        let mut rest = Some(words.join(" ").into_bytes());
        let mut connected = false;
        cx.local_poller("client", Schedule::WhenAwake, move |cx: &mut Cx<'_>| {
            if cx.is_exiting() {
                return Polled::Done;
            }
            let found = group.poll(&mut events);
            for event in events.drain() {
                match event {
                    NetEvent::Connected { .. } => connected = true,
                    NetEvent::Received { buf, .. } => answer.extend_from_slice(&buf),
                    // Both sides have ended: the answer is whole.
                    NetEvent::Closed { why: None, .. } => {
                        app.println(String::from_utf8_lossy(&answer));
                        app.stop(0);
                    }
                    NetEvent::Closed { why: Some(why), .. } => app.fail(&why),
                    _ => {}
                }
            }
            let left = rest.as_ref().map(Vec::len);
            if connected {
                rest = rest.take().and_then(|bytes| send(&mut *group, id, bytes));
            }
            if found == 0 && rest.as_ref().map(Vec::len) == left { Polled::Idle } else { Polled::Busy }
        });
        Ok(())
    })
}

/// Sends as much as the socket takes, and ends this side behind the last byte. What is left comes
/// back; this core is woken when there is room.
fn send(group: &mut dyn SockGroup, id: SockId, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    // Of a connection that has ended, `Closed` tells.
    let sent = group.send_bytes(id, &bytes).ok()?;
    bytes.drain(..sent);
    if !bytes.is_empty() {
        return Some(bytes);
    }
    let _ = group.shutdown(id);
    None
}
