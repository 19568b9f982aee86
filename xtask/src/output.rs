//! Standard output that may be closed or full.

use std::fmt;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::ExitCode;

use anyhow::{Result, anyhow};

/// What unwinds, without a panic's words, when nothing can be printed any more: all that has been
/// started is ended on the way.
struct Unprinted(io::Error);

/// Prints, or ends the command.
pub(crate) fn print(text: fmt::Arguments<'_>) {
    if let Err(why) = io::stdout().write_fmt(text) {
        resume_unwind(Box::new(Unprinted(why)));
    }
}

/// The outcome of `run`; that something could not be printed is an error of it.
pub(crate) fn or_unprinted(run: impl FnOnce() -> Result<()>) -> Result<()> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|ended| match ended.downcast::<Unprinted>() {
        Ok(unprinted) => Err(anyhow!("write standard output: {}", unprinted.0)),
        Err(panic) => resume_unwind(panic),
    })
}

/// Prints what clap has to say, and gives the code to end with.
pub(crate) fn print_help(said: &clap::Error) -> ExitCode {
    let code = said.exit_code() as u8;
    match said.print().and_then(|()| io::stdout().flush()) {
        // Who has read enough of the help closes its pipe.
        Err(why) if code == 0 && why.kind() != io::ErrorKind::BrokenPipe => crate::fail(&anyhow!("write standard output: {why}")),
        _ => ExitCode::from(code),
    }
}
