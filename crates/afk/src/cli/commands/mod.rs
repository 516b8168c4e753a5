//! What each command does, one file for each family of commands. Each reads its arguments, calls
//! `app`, and hands the result to `out`.

mod backup;
mod doctor;
mod doorbell;
mod edit;
mod editor;
mod evidence;
mod gateway;
mod here;
mod init;
mod issue;
mod logs;
mod look;
mod presence;
mod release;
mod replay;
mod schema;
mod serve;
mod settings;
mod shell;
mod signatures;
mod steer;
mod switch;
mod t3;
mod token;
mod verify;
mod work;

use std::path::Path;

use afk_app::operator::Operator;
use afk_app::starter::project::quoted;

use self::here::named;
use super::args::{Command, EvidenceArgs, EvidenceCommand, Global, Part, ServeArgs};
use super::exit::Answer;
use super::out::Out;
use super::sources::sources;

/// What every command gets: the global options and the output.
pub(super) struct Context<'a> {
    pub(super) global: &'a Global,
    pub(super) out: &'a Out,
}

impl Context<'_> {
    /// The configuration file that was named on the command line.
    fn config(&self) -> Option<&Path> {
        self.global.config.as_deref()
    }

    /// How to call this program again with the same configuration, as a person types it.
    fn afk(&self) -> String {
        called(self.config())
    }

    /// Opens the operator; the configuration must be valid.
    async fn operator(&self) -> Answer<Operator> {
        Operator::open(sources(self.config())).await
    }

    /// Opens the operator for commands that only read or stop things. If the configuration is
    /// invalid, warns and names the store in use.
    async fn operator_to_look(&self) -> Answer<Operator> {
        let operator = Operator::open_to_look(sources(self.config())).await?;
        self.warn_of(operator.trouble.as_deref(), operator.store.path());
        Ok(operator)
    }

    /// Warns of what is wrong with the configuration, if anything is, and names the store in use.
    fn warn_of(&self, trouble: Option<&str>, store: &Path) {
        if let Some(trouble) = trouble {
            let store = store.display();
            self.out.warn(&format!(
                "the configuration is invalid:\n{trouble}\n\
                 nothing new is dispatched until it is fixed; an `afk serve` that runs continues its \
                 live runs with the last valid configuration; this uses the store at {store}"
            ));
        }
    }
}

/// How this program is called, as a person types it, with the configuration file `named`.
fn called(named: Option<&Path>) -> String {
    named.map_or_else(
        || "afk".to_owned(),
        |file| format!("afk --config {}", quoted(&file.display().to_string())),
    )
}

/// Runs `command`.
pub(super) async fn run(mut command: Command, context: &Context<'_>) -> Answer {
    if let Some(subject) = command.subject() {
        here::complete(context, subject).await?;
    }
    match command {
        Command::Demo(args) => work::demo(context, args).await,
        Command::Doctor(args) => doctor::run(context, args).await,
        Command::Doorbell { command } => doorbell::run(context, command).await,
        Command::T3 { command } => t3::run(context, command).await,
        Command::Init { print, table } => init::run(context, print, &table).await,
        Command::Run { issue } => work::run(context, &issue).await,
        Command::Tick { poll, watch } => work::tick(context, poll, watch).await,
        Command::Serve(ServeArgs { only: Some(Part::Gateway), .. }) => {
            gateway::serve(context).await
        }
        Command::Serve(ServeArgs { only: None, .. }) => serve::serve(context).await,
        Command::Token { command } => token::token(context, command),
        Command::Agents { command } => token::agents(context, command),
        Command::Status { watch } => look::status(context, watch).await,
        Command::Diff { run, stat } => look::diff(context, &run, stat).await,
        Command::Show { run } => look::show(context, &run).await,
        Command::Logs(args) => logs::run(context, &args).await,
        Command::Runs { repo, limit } => look::runs(context, repo.as_deref(), limit).await,
        Command::Stop { run } => steer::stop(context, &run).await,
        Command::Retry { run } => steer::retry(context, &run).await,
        Command::Release { issue } => release::run(context, &issue).await,
        Command::Say { run, text } => steer::say(context, &run, text).await,
        Command::Answer { run, text, ask } => steer::reply(context, &run, text, ask.ask).await,
        Command::Allow { run, ask } => steer::allow(context, &run, ask.ask).await,
        Command::Deny { run, why, ask } => steer::deny(context, &run, why, ask.ask).await,
        Command::Budget { run, usd } => steer::budget(context, &run, &usd).await,
        Command::Explain { issue } => look::explain(context, &issue).await,
        Command::Evidence(EvidenceArgs { command: Some(command), .. }) => match command {
            EvidenceCommand::Verify(args) => verify::run(context, &args).await,
        },
        Command::Evidence(EvidenceArgs { run, format, command: None }) => {
            evidence::run(context, &run.unwrap_or_default(), format).await
        }
        Command::Replay { run } => replay::run(context, &run).await,
        Command::Presence { command } => presence::run(context, command).await,
        Command::Issue { command } => issue::run(context, command).await,
        Command::Arm => edit::kill_switch(context, false),
        Command::Disarm => edit::kill_switch(context, true),
        Command::Enroll(args) => edit::enroll(context, &args).await,
        Command::Unenroll(args) => edit::unenroll(context, &named(context, args.repo).await?),
        Command::Pause { why } => switch::pause(context, &why).await,
        Command::Resume => switch::resume(context).await,
        Command::Halt { why } => switch::halt(context, &why).await,
        Command::Ack(args) => switch::acknowledge(context, &named(context, args.repo).await?).await,
        Command::Freeze { repo, why } => {
            switch::freeze(context, &named(context, repo).await?, &why).await
        }
        Command::Unfreeze(args) => {
            switch::unfreeze(context, &named(context, args.repo).await?).await
        }
        Command::Backup(args) => backup::run(context, &args).await,
        Command::Config { command } => settings::run(context, command),
        Command::Schema { command } => schema::run(context, &command),
        Command::Completions { shell } => shell::completions(context.out, shell),
        Command::Man { dir } => shell::man(context.out, dir.as_deref()),
    }
}
