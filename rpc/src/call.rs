//! A call on its way through a method, and the answer on its way back.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use core_reactor::ThreadHandle;
use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::answer::answer;
use crate::{Control, Error, Text};

/// A call that a method is to answer.
#[derive(Debug)]
pub struct Call {
    params: Option<Params>,
    control: Arc<Control>,
    reply: Reply,
}

/// Parameters as they were written, and where.
#[derive(Clone, Debug)]
pub struct Params {
    /// An object, or an array.
    pub text: String,
    /// The line of a file that they begin in, from 1 on, which errors go by.
    pub line: usize,
    /// The column there, from 1 on.
    pub column: usize,
}

impl Params {
    /// Parameters that stand for themselves.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), line: 1, column: 1 }
    }
}

impl Call {
    pub(crate) fn new(params: Option<Params>, control: Arc<Control>, reply: Reply) -> Self {
        Self { params, control, reply }
    }

    /// Answers with what `f` makes of the parameters: a struct with `deny_unknown_fields`, an
    /// `Option` of one where all may be left out, or [`NoParams`].
    pub fn answer<P: DeserializeOwned, R: Serialize>(self, f: impl FnOnce(P) -> Result<R, Error>) {
        if let Some((params, reply)) = self.open() {
            reply.send(f(params));
        }
    }

    /// The parameters, and what the answer goes through, at once or later. If the parameters are
    /// wrong the call is answered, and nothing comes back.
    pub fn open<P: DeserializeOwned>(self) -> Option<(P, Reply)> {
        match read(self.params.as_ref()) {
            Ok(params) => Some((params, self.reply)),
            Err(why) => {
                self.reply.send::<()>(Err(why));
                None
            }
        }
    }

    /// The server that it came through, with what was given to it.
    pub fn control(&self) -> &Arc<Control> {
        &self.control
    }
}

fn read<P: DeserializeOwned>(params: Option<&Params>) -> Result<P, Error> {
    // The parser would take an array for the fields in order.
    if params.is_some_and(|params| params.text.starts_with('[')) {
        return Err(Error::params("Invalid parameters: they have names, in an object, and do not go by their places in an array"));
    }
    let text = params.map_or("null", |params| &params.text);
    let parsed = serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(text));
    parsed.map_err(|why: serde_path_to_error::Error<serde_json::Error>| {
        let (key, inner) = (why.path().to_string(), in_file(why.inner(), params));
        Error::params(match (params, key.as_str()) {
            (None, _) => "Invalid parameters: there are none, and some are needed".to_owned(),
            (_, ".") => format!("Invalid parameters: {inner}"),
            _ => format!("Invalid parameters: {key}: {inner}"),
        })
    })
}

/// What is wrong, in the lines of the file that the parameters are from.
fn in_file(why: &serde_json::Error, params: Option<&Params>) -> String {
    let (said, (line, column)) = (why.to_string(), (why.line(), why.column()));
    let (Some(from), Some(said)) = (params, said.strip_suffix(&format!(" at line {line} column {column}"))) else { return said };
    // Only what stands in their first line is moved along it.
    let column = if line == 1 { column + from.column - 1 } else { column };
    format!("{said} at line {} column {column}", from.line + line - 1)
}

/// No parameters: they are left out, or null.
#[derive(Clone, Copy, Debug)]
pub struct NoParams;

impl<'de> Deserialize<'de> for NoParams {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Nothing;
        impl Visitor<'_> for Nothing {
            type Value = NoParams;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("no parameters: leave params out")
            }

            fn visit_unit<E>(self) -> Result<NoParams, E> {
                Ok(NoParams)
            }
        }
        from.deserialize_any(Nothing)
    }
}

/// What the answer to a call goes through, from any thread and at any time. Dropped unused it
/// answers that there is none.
pub struct Reply(Option<Way>);

/// Where an answer goes.
enum Way {
    Client {
        outbox: Arc<Outbox>,
        to: To,
        /// Gone with the client.
        presence: Weak<()>,
        /// As it came; nothing if only an error would be told.
        id: Option<String>,
    },
    /// To whoever has called it in the program itself.
    Inside(Box<dyn FnOnce(Result<Text, Error>) + Send>),
}

/// Whose answer it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct To {
    pub(crate) client: u64,
    pub(crate) in_batch: bool,
}

impl Reply {
    pub(crate) fn new(outbox: Arc<Outbox>, to: To, presence: Weak<()>, id: Option<String>) -> Self {
        Self(Some(Way::Client { outbox, to, presence, id }))
    }

    pub(crate) fn inside(told: impl FnOnce(Result<Text, Error>) + Send + 'static) -> Self {
        Self(Some(Way::Inside(Box::new(told))))
    }

    /// Whether somebody may still hear the answer: the client has not gone, as far as the server
    /// knows, or it is the program itself. What only waits or asks over several turns looks, and
    /// ends where it is not; what changes something goes on. A client that says that it sends no
    /// more, as `nc -N` does, is there. So is one over TCP that has closed, until something
    /// was sent to it: the two look alike.
    pub fn is_wanted(&self) -> bool {
        match &self.0 {
            Some(Way::Client { presence, .. }) => presence.strong_count() > 0,
            Some(Way::Inside(_)) => true,
            None => false,
        }
    }

    /// Answers.
    pub fn send<R: Serialize>(self, result: Result<R, Error>) {
        self.send_text(result.and_then(|result| Text::of(&result)));
    }

    /// Answers with text that is JSON already.
    pub fn send_text(mut self, result: Result<Text, Error>) {
        self.finish(result);
    }

    fn finish(&mut self, result: Result<Text, Error>) {
        match self.0.take() {
            Some(Way::Client { outbox, to, id, .. }) => {
                let text = match (&id, result) {
                    (Some(id), result) => Some(answer(id, result)),
                    (None, Ok(_)) => None,
                    // That a request is none is told to whoever sent it, without an id too.
                    (None, Err(why)) => Some(answer("null", Err(why))),
                };
                outbox.put(to, text);
            }
            Some(Way::Inside(told)) => told(result),
            None => {}
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.finish(Err(Error::internal("the method has ended without an answer")));
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(Way::Client { to, id, .. }) => f.debug_struct("Reply").field("to", to).field("id", id).finish_non_exhaustive(),
            _ => f.debug_struct("Reply").finish_non_exhaustive(),
        }
    }
}

/// Answers on their way to the thread that serves.
pub(crate) struct Outbox {
    answers: Mutex<Vec<(To, Option<Text>)>>,
    /// Whether there are any, so that nobody takes the lock for nothing.
    is_full: AtomicBool,
    thread: ThreadHandle,
}

impl Outbox {
    pub(crate) fn new(thread: ThreadHandle) -> Self {
        Self { answers: Mutex::default(), is_full: AtomicBool::new(false), thread }
    }

    fn put(&self, to: To, text: Option<Text>) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).push((to, text));
        self.is_full.store(true, Ordering::Release);
        self.thread.wake();
    }

    /// Whether any have come.
    pub(crate) fn has_some(&self) -> bool {
        self.is_full.load(Ordering::Acquire)
    }

    /// All that have come.
    pub(crate) fn take(&self) -> Vec<(To, Option<Text>)> {
        if !self.has_some() {
            return Vec::new();
        }
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_full.store(false, Ordering::Relaxed);
        std::mem::take(&mut *answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Named {
        name: String,
        #[serde(default)]
        of: Option<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        count: u32,
    }

    #[test]
    fn parameters_are_strict_and_what_is_wrong_is_said() {
        let read =
            |text: Option<&str>| read::<Named>(text.map(Params::new).as_ref()).map(|named| (named.name, named.of.map(|of| of.count)));
        assert_eq!(read(Some(r#"{"name":"x","of":{"count":3}}"#)), Ok(("x".into(), Some(3))));
        for (text, part) in [
            (None, "some are needed"),
            (Some("{}"), "missing field `name`"),
            (Some(r#"["x",null]"#), "not go by their places"),
            (Some(r#"{"name":1}"#), "name: invalid type: integer"),
            (Some(r#"{"name":"x","name":"x"}"#), "duplicate field `name`"),
            (Some(r#"{"name":"x","nam":1}"#), "unknown field `nam`"),
            (Some(r#"{"name":"x","of":{"count":-1}}"#), "of.count: invalid value"),
        ] {
            let why = read(text).unwrap_err();
            assert!(why.code() == Error::PARAMS && why.message().contains(part), "{text:?}: {why}");
        }
    }

    #[test]
    fn s199_parameters_out_of_a_file_are_wrong_in_its_lines() {
        let at =
            |text: &str, line, column| read::<Named>(Some(&Params { text: text.into(), line, column })).unwrap_err().message().to_owned();
        assert!(at("{\"name\":1}", 7, 21).ends_with("at line 7 column 29"));
        assert!(at("{\n\"name\":1}", 7, 21).ends_with("at line 8 column 8"));
        assert!(at("{\"name\":1}", 1, 1).ends_with("at line 1 column 9"));
    }

    #[test]
    fn no_parameters_are_none_at_all() {
        assert!(read::<NoParams>(None).is_ok());
        for given in ["{}", "[]", r#"{"a":1}"#] {
            let why = read::<NoParams>(Some(&Params::new(given))).unwrap_err();
            assert_eq!(why.code(), Error::PARAMS);
        }
        assert!(read::<NoParams>(Some(&Params::new("{}"))).unwrap_err().message().contains("leave params out"));
        assert!(read::<Option<Named>>(None).unwrap().is_none());
        assert!(read::<Option<Named>>(Some(&Params::new("{}"))).is_err());
    }
}
