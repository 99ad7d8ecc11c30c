//! The `bcrlapi` command.

mod args;
mod commands;
mod describe;
mod failure;
mod fetch;
mod input;
mod interrupt;
mod output;
mod printable;
mod progress;
mod table;
mod wait;

use std::io;
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = args::Args::read();
    if args.debug {
        // Only our own words: those of the libraries below may have secrets in them.
        let ours = EnvFilter::new("bcrlapi=debug");
        let log = tracing_subscriber::fmt().with_env_filter(ours).with_writer(io::stderr).with_target(false);
        log.with_ansi(bcrlapi_settings::shows_colors(&io::stderr())).init();
    }
    commands::run(args).await
}
