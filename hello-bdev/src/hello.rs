//! The steps: write, read, compare.

use std::error::Error;

use bdev::{BdevEvent, Bdevs, Channel, Completion, Completions, Kind, Mode, Request};
use lcore::pool::BufGroup;
use lcore::{AppHandle, Cx, Polled, Schedule};

const TEXT: &str = "Hello World!\n";

pub(crate) struct Hello {
    app: AppHandle,
    channel: Channel,
    events: Completions,
}

type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

impl Hello {
    /// Begins; the rest is a poller's.
    pub(crate) fn start(cx: &mut Cx<'_>, app: &AppHandle, bdevs: &Bdevs, name: &str) -> Outcome {
        log::info!("Opening the bdev {name}");
        let bdev = bdevs.get(name).map_err(|why| {
            let known: Vec<_> = bdevs.list().iter().map(|bdev| bdev.name().to_owned()).collect();
            let known = if known.is_empty() { "there are none: make one with -c or --bdev".into() } else { known.join(", ") };
            format!("Could not open bdev: {why} ({known})")
        })?;
        let opened = bdev.open(Mode::ReadWrite).map_err(|why| format!("Could not open bdev {name}: {why}"))?;
        log::info!("Opening io channel");
        let channel = opened.channel(cx, 1).map_err(|why| format!("Could not create bdev I/O channel of {name}: {why}"))?;
        let mut buf = BufGroup::new(1, bdev.shape().block_size as usize).get().ok_or("no buffer")?;
        buf.append(TEXT.as_bytes());
        buf.spare_mut().fill(0);
        buf.grow(usize::MAX);
        let mut hello = Self { app: app.clone(), channel, events: Completions::new(4) };
        log::info!("Writing to the bdev");
        hello.channel.submit(cx.now(), Request::write(0, 1, buf))?;
        cx.local_poller("hello", Schedule::WhenAwake, move |cx: &mut Cx<'_>| hello.poll(cx));
        Ok(())
    }

    fn poll(&mut self, cx: &mut Cx<'_>) -> Polled {
        if cx.is_exiting() {
            return Polled::Done;
        }
        if self.channel.poll(cx.now(), &mut self.events) == 0 {
            return Polled::Idle;
        }
        let Some(event) = self.events.drain().next() else { return Polled::Busy };
        match self.handle(cx, event) {
            Ok(true) => {
                log::info!("Stopping app");
                self.app.stop(0);
                Polled::Done
            }
            Ok(false) => Polled::Busy,
            Err(why) => {
                self.app.fail(&*why);
                Polled::Done
            }
        }
    }

    /// Whether that was all.
    fn handle(&mut self, cx: &Cx<'_>, event: BdevEvent) -> Result<bool, Box<dyn Error + Send + Sync>> {
        let BdevEvent::Done(Completion { request, result }) = event else {
            return Err("the device has changed while it was used".into());
        };
        result.map_err(|why| format!("bdev io {} error: {why}", request.kind))?;
        let Some(mut buf) = request.data.into_iter().next() else { return Err("the buffer did not come back".into()) };
        if request.kind == Kind::Write {
            log::info!("bdev io write completed successfully");
            // What is read then comes from the device.
            buf.spare_mut().fill(0);
            buf.clear();
            log::info!("Reading io");
            self.channel.submit(cx.now(), Request::read(0, 1, buf))?;
            return Ok(false);
        }
        let text: Vec<u8> = buf.iter().copied().take_while(|byte| *byte != 0).collect();
        log::info!("Read string from bdev : {}", String::from_utf8_lossy(&text));
        if text != TEXT.as_bytes() || buf.iter().skip(TEXT.len()).any(|byte| *byte != 0) {
            return Err(format!("what was read from {} is not what was written", self.channel.bdev().name()).into());
        }
        Ok(true)
    }
}
