//! What the application has answered, now and before: rates are differences of the two.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Deserialize;
use serde_json::Value;

use crate::client::{CallError, Client};
use crate::text;

/// A method's answer, and when it came.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) method: &'static str,
    pub(crate) at: Instant,
    pub(crate) outcome: Result<Value, Failure>,
}

/// Why a method has not answered, on a connection that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Missing,
    Refused(String),
}

impl Answer {
    /// Asks for one.
    ///
    /// # Errors
    /// The connection is of no more use; the text says why.
    pub(crate) fn ask(client: &mut Client, method: &'static str) -> Result<Self, String> {
        let outcome = match client.call(method) {
            Ok(value) => Ok(value),
            Err(CallError::Missing) => Err(Failure::Missing),
            Err(CallError::Refused(why)) => Err(Failure::Refused(why)),
            Err(CallError::Lost(why)) => return Err(why),
        };
        Ok(Self { method, at: Instant::now(), outcome })
    }
}

/// The last answers of each method.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(BTreeMap<&'static str, History>);

#[derive(Clone, Debug)]
struct History {
    now: Answer,
    before: Option<Answer>,
}

/// A method's last answer and the one before it, `elapsed` seconds apart.
pub(crate) struct Pair<T> {
    pub(crate) now: T,
    pub(crate) before: Option<T>,
    pub(crate) elapsed: f64,
}

impl Seen {
    pub(crate) fn take(&mut self, answer: Answer) {
        let before = self.0.remove(answer.method).map(|history| history.now);
        self.0.insert(answer.method, History { now: answer, before });
    }

    /// What a method answers.
    ///
    /// # Errors
    /// It has not, or something else; the text says what.
    pub(crate) fn now<T: for<'de> Deserialize<'de>>(&self, method: &'static str) -> Result<T, String> {
        let history = self.0.get(method).ok_or_else(|| format!("{method} has not been answered yet"))?;
        read(&history.now)
    }

    /// What a method answers, now and before.
    pub(crate) fn pair<T: for<'de> Deserialize<'de>>(&self, method: &'static str) -> Result<Pair<T>, String> {
        let now = self.now(method)?;
        let history = &self.0[method];
        let before = history.before.as_ref().and_then(|before| Some((read(before).ok()?, before.at)));
        let elapsed = before.as_ref().map_or(0.0, |(_, at)| history.now.at.saturating_duration_since(*at).as_secs_f64());
        Ok(Pair { now, before: before.map(|(before, _)| before), elapsed })
    }

    /// The application as a line tells of it.
    pub(crate) fn application(&self) -> String {
        let named = self.now::<Version>("spdk_get_version");
        let version = named.map_or_else(|_| "an application of unknown version".into(), |it| text::plain(&it.version));
        match self.now::<Process>("framework_get_reactors") {
            Ok(Process { pid: Some(pid) }) => format!("{version}, process {pid}"),
            _ => version,
        }
    }
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

#[derive(Deserialize)]
struct Process {
    pid: Option<u64>,
}

fn read<T: for<'de> Deserialize<'de>>(answer: &Answer) -> Result<T, String> {
    let method = answer.method;
    match &answer.outcome {
        Ok(value) => {
            T::deserialize(value).map_err(|why| format!("what {method} answers cannot be read: {}", text::plain(&why.to_string())))
        }
        Err(Failure::Missing) => Err(format!("the application has no method {method}")),
        Err(Failure::Refused(why)) => Err(format!("{method}: {}", text::plain(why))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn answer(at: Instant, outcome: Result<Value, Failure>) -> Answer {
        Answer { method: "m", at, outcome }
    }

    #[test]
    fn a_pair_is_the_last_two_answers_and_the_time_between() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        assert!(seen.now::<u64>("m").unwrap_err().contains("not been answered yet"));
        seen.take(answer(start, Ok(json!(1))));
        let pair = seen.pair::<u64>("m").unwrap();
        assert_eq!((pair.now, pair.before), (1, None));
        seen.take(answer(start + Duration::from_secs(1), Ok(json!(2))));
        seen.take(answer(start + Duration::from_secs(3), Ok(json!(5))));
        let pair = seen.pair::<u64>("m").unwrap();
        assert_eq!((pair.now, pair.before, pair.elapsed), (5, Some(2), 2.0));
        // What was no answer before gives no rate now.
        seen.take(answer(start + Duration::from_secs(4), Err(Failure::Missing)));
        assert_eq!(seen.pair::<u64>("m").map(|_| ()).unwrap_err(), "the application has no method m");
        seen.take(answer(start + Duration::from_secs(5), Ok(json!(7))));
        assert_eq!(seen.pair::<u64>("m").unwrap().before, None);
        assert!(seen.now::<String>("m").unwrap_err().contains("cannot be read"));
    }
}
