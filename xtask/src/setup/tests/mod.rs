//! Setup over a made-up machine. [`machine`] builds it; each file here tells one part of the story.

mod devices;
mod machine;
mod values;

use anyhow::Result;
use clap::Parser;

use super::Apply;
use machine::Machine;

/// `setup apply` with these options, without hugepages unless they ask for some; what it printed,
/// and how it ended.
fn apply(machine: &Machine, options: &[&str]) -> (String, Result<()>) {
    #[derive(Parser)]
    #[command(args_override_self = true)]
    struct Cli {
        #[command(flatten)]
        apply: Apply,
    }
    let cli = Cli::try_parse_from([&["setup", "--hugemem", "0"], options].concat()).expect("options are right");
    let mut out = Vec::new();
    let done = super::apply(&machine.host(), &cli.apply, &mut out);
    (String::from_utf8(out).expect("text"), done)
}

fn reset(machine: &Machine) -> (String, Result<()>) {
    let mut out = Vec::new();
    let done = super::reset(&machine.host(), &mut out);
    (String::from_utf8(out).expect("text"), done)
}

fn status(machine: &Machine) -> String {
    let mut out = Vec::new();
    super::status(&machine.host(), &mut out).expect("status of a whole machine");
    String::from_utf8(out).expect("text")
}

/// The error's text, with all that led to it.
#[track_caller]
fn refusal(done: Result<()>) -> String {
    format!("{:#}", done.expect_err("must be refused"))
}
