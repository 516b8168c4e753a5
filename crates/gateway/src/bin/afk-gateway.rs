//! The gateway as a program of its own: `afk-gateway tether …` is the supervisor of a process, and
//! `afk-gateway serve FOLDER SETTINGS` serves until SIGTERM.
//!
//! For the tests and benches of this crate; the `afk` binary has both commands. SETTINGS is the
//! `[gateway]` table as JSON, the token comes from the predecessor's variable, and the first line
//! of output is the address.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use afk_gateway::{Gateway, GatewaySettings, GatewayStart, TOKEN_VARIABLE};
use afk_http::{Bound, Limits};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The same allocator as that of the `afk` binary, so that what is measured here is what users get.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match args.split_first() {
        Some((word, rest)) if word == afk_agent::tether::SUBCOMMAND => {
            afk_agent::tether::main(rest)
        }
        Some((word, [state, settings])) if word == "serve" => match serve(state, settings) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        Some(_) | None => ExitCode::from(2),
    }
}

fn serve(state: &OsString, settings: &OsString) -> Result<(), Box<dyn std::error::Error>> {
    let settings: GatewaySettings = serde_json::from_str(&settings.to_string_lossy())?;
    let start = GatewayStart {
        settings,
        state: state.into(),
        supervisor: std::env::current_exe()?,
        token: std::env::var(TOKEN_VARIABLE).ok().map(Into::into),
        credentials: vec![("ANTHROPIC_API_KEY".to_owned(), "dummy".into())],
        path: std::env::var("PATH").unwrap_or_default(),
        sign_in: None,
        git: vec![],
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        tikv_jemalloc_ctl::background_thread::write(true)?;
        let mut term = signal(SignalKind::terminate())?;
        let gateway = Gateway::open(start).await?;
        let server = Bound::bind(([127, 0, 0, 1], 0).into()).await?;
        println!("{}", server.address());
        let (routes, stop) = (gateway.router(), CancellationToken::new());
        let limits = Limits {
            connections: 4096,
            headers: Duration::from_secs(10),
            connection: None,
            drain: Duration::from_secs(2),
        };
        tokio::select! {
            () = server.serve(&routes, limits, &stop) => {}
            _ = term.recv() => {}
        }
        gateway.close().await;
        Ok(())
    })
}
