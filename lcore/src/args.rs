//! The command line, with what clap has to say about it.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

/// The command line of `program`, or the code to end with where that is all: after its help, its
/// version or what is wrong has been printed. A help that cannot be written is a failure too.
///
/// ```
/// use std::process::ExitCode;
///
/// use lcore::clap::{self, Parser};
///
/// #[derive(Parser)]
/// struct Args {
///     #[command(flatten)]
///     app: lcore::AppOptions,
/// }
///
/// fn main() -> ExitCode {
///     let args: Args = match lcore::parse_args("server") {
///         Ok(args) => args,
///         Err(code) => return code,
///     };
///     lcore::App::new("server").options(args.app).run(|_, app| {
///         app.stop(0);
///         Ok(())
///     })
/// }
/// ```
///
/// # Errors
/// The program is to end with this code.
pub fn parse_args<A: Parser>(program: &str) -> Result<A, ExitCode> {
    A::try_parse().map_err(|said| print(program, &said))
}

/// Prints what clap has to say: help on standard output, or what is wrong on standard error.
fn print(program: &str, said: &clap::Error) -> ExitCode {
    let code = said.exit_code() as u8;
    match write(said) {
        Err(why) if code == 0 => {
            let _ = writeln!(io::stderr(), "{program}: {why}");
            ExitCode::FAILURE
        }
        // What is wrong may have nobody to read it.
        _ => ExitCode::from(code),
    }
}

fn write(said: &clap::Error) -> Result<(), String> {
    let stdout = platform_linux::stdout().map_err(|why| why.to_string());
    match said.print().and_then(|()| io::stdout().flush()) {
        // Who has read enough of the help closes its pipe.
        Err(why) if why.kind() != io::ErrorKind::BrokenPipe => Err(format!("write standard output: {why}")),
        _ => stdout.map(drop),
    }
}
