//! The commands and their arguments.

use std::path::PathBuf;

use clap::Subcommand;
use clap_complete::ArgValueCompleter;

use super::{
    AgentsCommand, AskArg, BackupArgs, ConfigCommand, DemoArgs, DoctorArgs, DoorbellCommand,
    EnrollArgs, EvidenceArgs, IssueCommand, LogsArgs, PresenceCommand, RepoArgs, SchemaCommand,
    ServeArgs, T3Command, TableArgs, TokenCommand, examples, number,
};
use crate::cli::complete;

/// The commands.
#[derive(Debug, Clone, Subcommand)]
pub(in crate::cli) enum Command {
    /// Watch the whole loop work on a sample repository
    ///
    /// Creates a sample repository with a remote, a local issue and its own configuration, and runs
    /// the real loop on it: git, tests, sandbox, landing, stages, evidence. Reads and changes
    /// nothing of yours. The agent is a script, and labelled as one, unless `--agent` chooses a
    /// real one. With `--forge` the issue lives on a fake forge, which is a part of this program
    /// and speaks on loopback only: nothing is sent to the real one.
    ///
    /// Exits with 0 if the scenario ended as intended.
    #[command(after_help = examples::DEMO)]
    Demo(DemoArgs),
    /// Write a first, disarmed configuration for this repository
    ///
    /// Inspects the clone that this folder is in (its remote, its tests, the packages that they
    /// need, the toolchain that the sandbox must show) and looks for a signed-in Claude CLI. Writes
    /// a commented file with an empty allowlist and the kill switch on. Never overwrites an
    /// existing file; to add a repository to one, use `afk enroll`.
    #[command(after_help = examples::INIT)]
    Init {
        /// Print the file instead of writing it
        #[arg(long)]
        print: bool,
        #[command(flatten)]
        table: TableArgs,
    },
    /// Check everything the loop needs, and say how to fix what is missing
    ///
    /// Checks the configuration, store, disk, git, sandbox, hosts, the agent's CLI and its sign-in,
    /// and for each repository its limits, its remote, its commands inside the sandbox, its policy
    /// and its tests. Then it runs `verify` on the default branch of the enrolled repositories, or
    /// of all if none is enrolled, as the loop does before it pays for a turn: the same tree, in
    /// the same sandbox, with what `proof.fetch` brings.
    ///
    /// Calls no model, so it costs no money. It takes as long as the tests, and up to three times
    /// as long if they fail. Tests that passed are not run again while the default branch stays the
    /// same. `--quick` runs no tests.
    ///
    /// Prints what is wrong, or a single line if nothing is. Exits with 0 if nothing is wrong, 2 if
    /// the configuration is invalid, otherwise 6.
    #[command(after_help = examples::DOCTOR)]
    Doctor(DoctorArgs),
    /// Try the doorbells, which tell people how runs end and what waits for them
    Doorbell {
        #[command(subcommand)]
        command: DoorbellCommand,
    },
    /// Try a T3 Code server, or get a token for it
    T3 {
        #[command(subcommand)]
        command: T3Command,
    },
    /// Land one issue now, in the foreground
    ///
    /// Bypasses the kill switch and the allowlist, but no other gate, because a person started it.
    /// Shows the run live on a terminal, otherwise prints a line for each step. Ctrl-C leaves the
    /// run as it is; the next `run` or `tick` continues it.
    #[command(after_help = examples::RUN)]
    Run {
        /// The issue, such as o/web#7; in a clone of its repository the number is enough
        #[arg(value_name = "OWNER/NAME#N", add = ArgValueCompleter::new(complete::issues))]
        issue: String,
    },
    /// Run the daemon: work issues until stopped
    ///
    /// Takes released issues of enrolled repositories, up to `max_concurrent_runs` at once, and
    /// works each to its end. Only one daemon can work a store: a second one refuses to start and
    /// names the first. `tick` and `run` may be used beside it.
    ///
    /// Logs to standard output. Reloads the configuration when a file changes and on SIGHUP; while
    /// the new one is invalid, the last valid one stays in force and no new issue is taken. SIGTERM
    /// stops it within seconds with exit code 0, a second SIGTERM at once. Agents go on under their
    /// hosts, and the next start finds them.
    ///
    /// After a crash, a start on the same machine takes over at once; a start in another container
    /// is refused until the old lease has expired, at most 30 seconds.
    #[command(after_help = examples::SERVE)]
    Serve(ServeArgs),
    /// Make, list and revoke the tokens of the gateway
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Install the agent definitions that come with afk
    Agents {
        #[command(subcommand)]
        command: AgentsCommand,
    },
    /// Run one tick: continue live runs and, with `--poll`, admit new issues
    ///
    /// For schedulers such as cron. While disarmed it takes no new issue; live runs go on, and their
    /// agents may spend. `afk halt` stops everything.
    #[command(after_help = examples::TICK)]
    Tick {
        /// Also look for new issues
        #[arg(long)]
        poll: bool,
        /// Stay until every live run is settled, and show their progress
        #[arg(long)]
        watch: bool,
    },
    /// Show what runs, what waits and why, and how the switches are set
    ///
    /// Live runs with their phase, time, tokens and cost; issues handed to a person; ready issues
    /// and the gate that holds each; switches, frozen repositories and the strength of the sandbox.
    #[command(after_help = examples::STATUS)]
    Status {
        /// Show it again every two seconds, until Ctrl-C
        #[arg(long)]
        watch: bool,
    },
    /// Show one run: checklist, attempts, timeline
    ///
    /// Takes a run's id, a prefix of one, or an issue (its newest run).
    #[command(after_help = examples::SHOW)]
    Show {
        /// The run or its issue, such as o/web#7; in a clone of its repository the number is enough
        #[arg(value_name = "RUN|OWNER/NAME#N", add = ArgValueCompleter::new(complete::runs))]
        run: String,
    },
    /// Show what a run changes, as a patch
    ///
    /// Shows what landed, commit by commit, or, if nothing has landed, the newest commit that was
    /// tested. Commits are read from this machine's mirror of the repository. Exits with 1 if there
    /// is no commit yet.
    #[command(after_help = examples::DIFF)]
    Diff {
        /// The run or its issue, such as o/web#7; in a clone of its repository the number is enough
        #[arg(value_name = "RUN|OWNER/NAME#N", add = ArgValueCompleter::new(complete::runs))]
        run: String,
        /// Show only the names of the changed files, and the number of changed lines in each
        #[arg(long)]
        stat: bool,
    },
    /// Show what a run's agent said and did, turn by turn
    ///
    /// Prints the transcript: what the agent said, a line for each tool call with failures marked,
    /// and how each turn ended. With `--json`, prints the agent's own output lines, unchanged.
    ///
    /// When the run's workspace is removed, its transcript is kept, compressed, within
    /// `kept_transcripts_mib`; if a turn has more than 16 MiB, the middle is cut out. Exits with 1
    /// if no transcript is left.
    #[command(after_help = examples::LOGS)]
    Logs(LogsArgs),
    /// List all runs, newest first
    ///
    /// Live runs with their phase, ended runs with their outcome; attempts, cost and age.
    #[command(after_help = examples::RUNS)]
    Runs {
        /// List only runs of this repository
        #[arg(long, value_name = "OWNER/NAME", add = ArgValueCompleter::new(complete::repos))]
        repo: Option<String>,
        /// Maximum number of runs to list
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = number::limit)]
        limit: u32,
    },
    /// Stop a run, and take the ready label off its issue
    ///
    /// Interrupts the agent and the jobs; nothing more of the run lands. Without the label, no
    /// further run takes the issue until a person releases it. Commits that have landed stay, and
    /// their stages are followed to their verdict.
    #[command(after_help = examples::STOP)]
    Stop {
        /// The run or its issue, such as o/web#7; in a clone of its repository the number is enough
        #[arg(value_name = "RUN|OWNER/NAME#N", add = ArgValueCompleter::new(complete::runs))]
        run: String,
    },
    /// Retry a run now, or release its issue again
    ///
    /// A live run that waits for a retry or a usage limit continues at once. If the run has ended,
    /// the issue is released again in your name: the label `human_label` comes off, the ready label
    /// goes on, and every gate is queried as usual.
    #[command(after_help = examples::RETRY)]
    Retry {
        /// The run or its issue, such as o/web#7; in a clone of its repository the number is enough
        #[arg(value_name = "RUN|OWNER/NAME#N", add = ArgValueCompleter::new(complete::runs))]
        run: String,
    },
    /// Take off an in-progress label that no run here holds
    ///
    /// An in-progress label that a person added by hand, or that another control plane left behind,
    /// locks the whole repository. This command takes the label off: in the local tracker in your
    /// name, on a forge with the account that afk uses there. It does not take off the label of a
    /// live run; use `afk stop` for that. Exits with 3 if a live run holds the issue, and with 0 if
    /// the issue has no such label.
    #[command(after_help = examples::RELEASE)]
    Release {
        /// The issue, such as o/web#7; in a clone of its repository the number is enough
        #[arg(value_name = "OWNER/NAME#N", add = ArgValueCompleter::new(complete::issues))]
        issue: String,
    },
    /// Send a message to a run's agent
    ///
    /// The agent gets the message in a further turn, after the current one. That turn counts as
    /// neither a retry nor an attempt.
    #[command(after_help = examples::SAY)]
    Say {
        /// The run or its issue, such as o/web#7; in a clone of its repository the number is enough
        #[arg(value_name = "RUN|OWNER/NAME#N", add = ArgValueCompleter::new(complete::runs))]
        run: String,
        /// The message; `-` reads standard input
        text: String,
    },
    /// Answer a question of a run's agent
    ///
    /// With `permissions = "ask"`, a question waits `question_timeout_seconds` for a person; then
    /// the agent is told to decide by itself. `afk show` lists open questions and their deadlines.
    #[command(after_help = examples::ANSWER)]
    Answer {
        /// The run or its issue, such as o/web#7; in a clone of its repository the number is enough
        #[arg(value_name = "RUN|OWNER/NAME#N", add = ArgValueCompleter::new(complete::runs))]
        run: String,
        /// The answer; `-` reads standard input
        text: String,
        #[command(flatten)]
        ask: AskArg,
    },
    /// Grant a permission that a run's agent asks for, once
    ///
    /// With `permissions = "ask"`, each tool call that needs a permission waits
    /// `question_timeout_seconds` for a person and is then refused. `afk show` lists open questions
    /// and their deadlines.
    #[command(after_help = examples::ALLOW)]
    Allow {
        /// The run or its issue, such as o/web#7; in a clone of its repository the number is enough
        #[arg(value_name = "RUN|OWNER/NAME#N", add = ArgValueCompleter::new(complete::runs))]
        run: String,
        #[command(flatten)]
        ask: AskArg,
    },
    /// Refuse a permission that a run's agent asks for
    ///
    /// The agent gets your reason and continues without the permission.
    #[command(after_help = examples::DENY)]
    Deny {
        /// The run or its issue, such as o/web#7; in a clone of its repository the number is enough
        #[arg(value_name = "RUN|OWNER/NAME#N", add = ArgValueCompleter::new(complete::runs))]
        run: String,
        /// The reason, for the agent; `-` reads standard input
        #[arg(default_value = "")]
        why: String,
        #[command(flatten)]
        ask: AskArg,
    },
    /// Change the budget of a live run
    ///
    /// A run that has used up its budget and has not ended continues with the new one. The current
    /// turn keeps the limit it started with.
    #[command(after_help = examples::BUDGET)]
    Budget {
        /// The run or its issue, such as o/web#7; in a clone of its repository the number is enough
        #[arg(value_name = "RUN|OWNER/NAME#N", add = ArgValueCompleter::new(complete::runs))]
        run: String,
        /// The run's total budget, in US dollars
        #[arg(value_name = "USD", allow_negative_numbers = true)]
        usd: String,
    },
    /// Show whether an issue would be dispatched, gate by gate
    ///
    /// Queries every gate with the code that dispatches, and shows which parts of the issue's text
    /// the agent would not see. Exits with 0 if the loop would take the issue, with 3 if a gate
    /// refuses or cannot be decided.
    #[command(after_help = examples::EXPLAIN)]
    Explain {
        /// The issue, such as o/web#7; in a clone of its repository the number is enough
        #[arg(value_name = "OWNER/NAME#N", add = ArgValueCompleter::new(complete::issues))]
        issue: String,
    },
    /// Show why an issue was allowed to close
    ///
    /// The evidence bundle as Markdown: who released the issue, what changed, the proof with its
    /// commands and outputs, each stage's result, the cost and the sandbox. Exits with 3 while the
    /// bundle is incomplete.
    #[command(after_help = examples::EVIDENCE)]
    Evidence(EvidenceArgs),
    /// Replay a run's decisions from its journal, and report differences
    ///
    /// Checks that no journal row was edited, truncated or removed, then makes every decision again
    /// with this binary. Only reads. Exits with 0 if nothing differs, otherwise with 1.
    #[command(after_help = examples::REPLAY)]
    Replay {
        /// The run or its issue, such as o/web#7; in a clone of its repository the number is enough
        #[arg(value_name = "RUN|OWNER/NAME#N", add = ArgValueCompleter::new(complete::runs))]
        run: String,
    },
    /// Show where people and agents work
    ///
    /// Lists the live runs, and the claims that people made with `afk presence claim`. A claim
    /// informs others and expires by itself; it does not stop anything. To keep the loop off a
    /// repository, use `afk freeze`.
    #[command(after_help = examples::PRESENCE)]
    Presence {
        #[command(subcommand)]
        command: Option<PresenceCommand>,
    },
    /// Create, read and change issues of the local tracker
    ///
    /// These issues are stored on this machine, and the loop treats them as it treats those of a
    /// forge. Each action is recorded with the person who did it, because a label is only trusted
    /// if a trusted person added it.
    #[command(after_help = examples::ISSUE)]
    Issue {
        #[command(subcommand)]
        command: IssueCommand,
    },
    /// Turn the kill switch off, in the configuration file
    ///
    /// From then on the loop takes ready issues of enrolled repositories. Keeps the file's comments
    /// and layout.
    #[command(after_help = examples::ARM)]
    Arm,
    /// Turn the kill switch on, in the configuration file
    ///
    /// Nothing new is dispatched; live runs continue. To stop those too, use `afk halt`.
    Disarm,
    /// Put a repository on the allowlist, in the configuration file
    ///
    /// A repository that is not configured yet gets a table, with what is found in the clone that
    /// this folder is in, as `afk init` would write it; elsewhere it needs `--remote` and
    /// `--verify`. Keeps the file's comments and layout; creates the file if there is none.
    #[command(after_help = examples::ENROLL)]
    Enroll(EnrollArgs),
    /// Take a repository off the allowlist, in the configuration file
    ///
    /// The repository's table stays in the file. Live runs on it are cancelled, except those that a
    /// person started with `afk run`.
    Unenroll(RepoArgs),
    /// Stop dispatching until `resume`
    ///
    /// Live runs continue. Takes effect within two seconds.
    #[command(after_help = examples::PAUSE)]
    Pause {
        /// The reason, shown in `status`
        #[arg(long, value_name = "TEXT", default_value = "")]
        why: String,
    },
    /// Lift pause and halt
    ///
    /// Agents that a halt stopped continue with a turn that tells them so, which counts as neither
    /// a retry nor an attempt.
    Resume,
    /// Stop everything: agents, jobs, landings
    ///
    /// No dispatch, no landing, no corrective turn; agents and jobs are interrupted within ten
    /// seconds. Runs keep their locks, and `resume` continues them.
    #[command(after_help = examples::HALT)]
    Halt {
        /// The reason, shown in `status`
        #[arg(long, value_name = "TEXT", default_value = "")]
        why: String,
    },
    /// Acknowledge a freeze, so that it stops ringing
    ///
    /// A freeze that a run caused rings every `page_again_seconds` until it is acknowledged. The
    /// repository stays frozen until `unfreeze`.
    #[command(after_help = examples::ACK)]
    Ack(RepoArgs),
    /// Stop dispatching and landing on one repository until `unfreeze`
    Freeze {
        /// The repository [default: the one whose clone this folder is in]
        #[arg(value_name = "OWNER/NAME", add = ArgValueCompleter::new(complete::repos))]
        repo: Option<String>,
        /// The reason, shown in `status`
        #[arg(long, value_name = "TEXT", default_value = "")]
        why: String,
    },
    /// Lift the freeze of one repository
    Unfreeze(RepoArgs),
    /// Copy the store to a file, even while it is in use
    ///
    /// The copy has the runs, the journal, the switches, the spending and the local issues as they
    /// are at one moment. If it cannot be completed, no file is left. Prints what the copy does not
    /// contain. To restore it, stop every afk process that uses the store, remove afk.db-wal and
    /// afk.db-shm, and put the copy at afk.db.
    #[command(after_help = examples::BACKUP)]
    Backup(BackupArgs),
    /// Check, describe and locate the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Print the JSON Schemas of what commands print with `--json`
    Schema {
        #[command(subcommand)]
        command: SchemaCommand,
    },
    /// Print shell completions
    ///
    /// They offer commands, options, and the issues and runs of this machine.
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the man page, or write all man pages to a folder
    #[command(after_help = examples::MAN)]
    Man {
        /// The folder to write all man pages to
        #[arg(value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

impl Command {
    /// The run or issue that the command is about, as typed.
    pub(in crate::cli) fn subject(&mut self) -> Option<&mut String> {
        match self {
            Self::Run { issue } | Self::Release { issue } | Self::Explain { issue } => Some(issue),
            Self::Show { run }
            | Self::Diff { run, .. }
            | Self::Stop { run }
            | Self::Retry { run }
            | Self::Say { run, .. }
            | Self::Answer { run, .. }
            | Self::Allow { run, .. }
            | Self::Deny { run, .. }
            | Self::Budget { run, .. }
            | Self::Replay { run } => Some(run),
            Self::Logs(args) => Some(&mut args.run),
            Self::Evidence(args) => args.run.as_mut(),
            Self::Issue { command } => command.subject(),
            _ => None,
        }
    }
}
