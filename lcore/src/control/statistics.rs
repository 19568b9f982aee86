//! The method that tells all statistics.

use core_reactor::Cx;
use rpc::{Call, Error, Method, Text};
use serde::Deserialize;
use statistics::{Family, Samples, Seconds, Shown, Value, families};

use super::elsewhere::Elsewhere;
use super::visits::Visits;
use crate::{AppHandle, registered};

rpc::register!(Method::new("lcore_get_stats", "All statistics, or those whose names begin with one of the names given", get_stats));

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    names: Vec<String>,
}

fn get_stats(cx: &mut Cx<'_>, call: Call) {
    let control = call.control().clone();
    let services = call.control().service::<AppHandle>().and_then(|app| Ok((app, call.control().service::<Elsewhere>()?)));
    let Some((wanted, reply)) = call.open::<Option<Wanted>>() else { return };
    let (app, elsewhere) = match services {
        Ok((app, elsewhere)) => (AppHandle::clone(&app), elsewhere),
        Err(why) => return reply.send::<()>(Err(why)),
    };
    let samples = Samples::of(wanted.unwrap_or_default().names);
    Visits::enter(&control, cx, move |cx, going| {
        registered::gather(cx, app, samples, move |cx, samples| {
            let now = cx.clock().as_nanos();
            let me = cx.handle();
            // There may be thousands, and they are not to heap up there.
            elsewhere.run(move || {
                reply.send_text(text(now, &families(samples)));
                let _ = me.send(move |cx: &mut Cx<'_>| going.end(cx));
            });
        });
    });
}

fn text(now: u64, families: &[Family]) -> Result<Text, Error> {
    let mut text = Text::default();
    text.push_str(&format!("{{\"time_ns\":{now},\"stats\":["));
    for (at, family) in families.iter().enumerate() {
        let (figure, comma) = (&family.figure, if at > 0 { "," } else { "" });
        text.push_str(&format!("{comma}{{\"name\":\"{}\",\"help\":", figure.name));
        text.push(&figure.help())?;
        text.push_str(&format!(",\"type\":\"{}\",\"samples\":[", figure.kind.name()));
        for (at, sample) in family.samples.iter().enumerate() {
            text.push_str(if at > 0 { ",{\"labels\":{" } else { "{\"labels\":{" });
            push_sample(&mut text, family, sample)?;
        }
        text.push_str("]}");
    }
    text.push_str("]}");
    Ok(text)
}

fn push_sample(text: &mut Text, family: &Family, sample: &Shown) -> Result<(), Error> {
    for (at, (name, value)) in sample.labels.iter().enumerate() {
        text.push_str(&format!("{}\"{name}\":", if at > 0 { "," } else { "" }));
        text.push(value)?;
    }
    let Value::Times(times) = &sample.value else {
        text.push_str(&format!("}},\"value\":{}}}", sample.text(&family.figure)));
        return Ok(());
    };
    text.push_str(&format!("}},\"count\":{},\"sum\":{},\"buckets\":[", times.count(), Seconds(times.sum_ns)));
    // The last has no end; it is the count.
    let buckets = times.cumulative().filter(|(up_to_ns, _)| *up_to_ns < u64::MAX);
    for (at, (up_to_ns, count)) in buckets.enumerate() {
        text.push_str(&format!("{}[{},{count}]", if at > 0 { "," } else { "" }, Seconds(up_to_ns)));
    }
    text.push_str("]}");
    Ok(())
}
