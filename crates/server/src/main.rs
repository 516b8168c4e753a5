//! The `afk` binary: hidden subcommands first, then the command line.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    // Before anything opens a file or starts a thread: a host closes what it inherited.
    match args.split_first() {
        Some((word, [dir])) if word == afk_agent::host::SUBCOMMAND => {
            return afk_agent::host::main(dir.as_ref());
        }
        Some((word, rest)) if word == afk_agent::sandbox::INIT_SUBCOMMAND => {
            return afk_agent::sandbox::init_main(rest);
        }
        Some((word, rest)) if word == afk_agent::agents::scripted::command::SUBCOMMAND => {
            return afk::scripted::main(rest);
        }
        Some(_) | None => {}
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let options = afk::demo::DemoOptions {
            scenario: match args.get(0).and_then(|a| a.to_str()) {
                Some("guardrail") => afk::demo::Scenario::Guardrail,
                Some("needs-human") => afk::demo::Scenario::NeedsHuman,
                Some("blocked") => afk::demo::Scenario::Blocked,
                Some("untrusted") => afk::demo::Scenario::Untrusted,
                _ => afk::demo::Scenario::Success,
            },
            claude: false,
            keep: None,
        };
        tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_env_filter("afk=debug,afk_engine=debug,info")
            .init();
        let demo = afk::demo::Demo::set_up(&options).await.unwrap();
        let r = demo.run(&tokio_util::sync::CancellationToken::new()).await.unwrap();
        println!("{}", serde_json::to_string_pretty(&r).unwrap());
    });
    ExitCode::SUCCESS
}
