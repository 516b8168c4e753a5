//! The commands, and what each takes.

use std::path::PathBuf;

use clap::Subcommand;

use super::{
    AskArg, BackupArgs, ConfigCommand, DemoArgs, EnrollArgs, EvidenceArgs, IssueCommand, LogsArgs,
    PresenceCommand, RepoArgs, ServeArgs, examples,
};

/// The commands.
#[derive(Debug, Clone, Subcommand)]
pub(in crate::cli) enum Command {
    /// See the whole loop work on a sample repository, from nothing
    ///
    /// Makes a sample repository with a remote, a local issue and a configuration of
    /// its own, and runs the loop on it for real: git, tests, sandbox, landing,
    /// stages, evidence. Nothing of yours is read or changed. The agent is a script
    /// unless `--agent claude` is given, and is called scripted wherever it shows.
    ///
    /// Ends with 0 when the scenario ended as it is meant to.
    #[command(after_help = examples::DEMO)]
    Demo(DemoArgs),
    /// Write a first configuration for what is found here, disarmed
    ///
    /// Looks at the repository that it stands in: its remote, how it is tested, the
    /// toolchain that the sandbox must show; and for a signed-in Claude CLI. Writes a
    /// commented file that lists no repository and has the kill switch on. A file that
    /// is there already is never touched.
    #[command(after_help = examples::INIT)]
    Init {
        /// Print the file, and write nothing
        #[arg(long)]
        print: bool,
    },
    /// Check everything that the loop needs, and say how to mend what is missing
    ///
    /// Configuration, store, disk, git, sandbox, hosts, the agent's CLI and its sign-in,
    /// and each repository: its remote, its commands inside the sandbox, its policy and
    /// its tests. No model is called. Ends with 0 when nothing fails, with 2 when the
    /// configuration does, else with 6.
    #[command(after_help = examples::DOCTOR)]
    Doctor {
        /// Make the labels that a tracker lacks
        #[arg(long)]
        fix: bool,
    },
    /// Land one issue now, in the foreground
    ///
    /// A person's own dispatch: it passes the kill switch and the allowlist, and no
    /// other gate. Shows the run live on a terminal, and a line for each step
    /// elsewhere. Ctrl-C leaves the run as it is; the next `run` or `tick` goes on
    /// with it.
    #[command(after_help = examples::RUN)]
    Run {
        /// The issue
        #[arg(value_name = "OWNER/REPO#N")]
        issue: String,
    },
    /// Work issues for as long as it runs: the daemon
    ///
    /// Takes released issues of enrolled repositories, as many at once as
    /// `max_concurrent_runs` says, and works each to its end. One a store: a second one
    /// refuses, and names the first. `tick` and `run` may be used beside it.
    ///
    /// Its log goes to standard output. A changed configuration file is read by itself,
    /// and at SIGHUP; where it is not good the last good one stays, and nothing new is
    /// taken until it is mended. SIGTERM stops it within seconds, with exit code 0; a
    /// second one at once. Agents go on under their hosts, and the next start finds them.
    ///
    /// One that was killed keeps no start on its machine waiting; a start in another
    /// container is refused until the dead one's lease is over, at most 30 seconds.
    #[command(after_help = examples::SERVE)]
    Serve(ServeArgs),
    /// One pass over everything: admit new issues, go on with live runs
    ///
    /// For schedulers: with the switches as shipped it reads the store and nothing
    /// else. Without `--poll` it goes on with live runs only.
    #[command(after_help = examples::TICK)]
    Tick {
        /// Look for new issues too
        #[arg(long)]
        poll: bool,
        /// Stay until every live run is settled, and show them
        #[arg(long)]
        watch: bool,
    },
    /// What runs, what waits and why, what is switched how
    ///
    /// Live runs with their phase, time, tokens and cost; issues that were handed to a
    /// person; ready issues and the gate that holds each; switches, frozen repositories
    /// and the sandbox's strength.
    #[command(after_help = examples::STATUS)]
    Status,
    /// One run: checklist, attempts, timeline
    ///
    /// Takes a run's id, the beginning of one, or an issue, which means its newest run.
    #[command(after_help = examples::SHOW)]
    Show {
        /// The run or its issue
        #[arg(value_name = "RUN|OWNER/REPO#N")]
        run: String,
    },
    /// What a run's agent said and did, turn by turn
    ///
    /// The transcript: the agent's words, a line for each tool call, those that failed
    /// marked, and how each turn ended. When the run's workspace goes it is kept,
    /// compressed, while there is room; of more than 16 MiB a turn the middle is left out.
    /// With `--json` the lines of the agent's own output, as they are. Ends with 1 where
    /// nothing of it is left.
    #[command(after_help = examples::LOGS)]
    Logs(LogsArgs),
    /// Every run, newest first
    ///
    /// Live ones with their phase, the others with their outcome; attempts, cost and age.
    #[command(after_help = examples::RUNS)]
    Runs {
        /// Only those of this repository
        #[arg(long, value_name = "OWNER/NAME")]
        repo: Option<String>,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Stop a run and let its issue go
    ///
    /// Its agent and jobs are interrupted, and nothing more of it lands. The ready label
    /// comes off, so that nobody takes the issue up again until a person releases it.
    /// What has landed already stays, and is followed to its verdict.
    #[command(after_help = examples::STOP)]
    Stop {
        /// The run or its issue
        #[arg(value_name = "RUN|OWNER/REPO#N")]
        run: String,
    },
    /// Try again now, or release an issue again
    ///
    /// A live run that waits for a retry or a usage limit goes on at once. An issue whose
    /// run has ended is released again in your name: the label that handed it to a person
    /// comes off and the ready label goes on, and every gate is asked as ever.
    #[command(after_help = examples::RETRY)]
    Retry {
        /// The run or its issue
        #[arg(value_name = "RUN|OWNER/REPO#N")]
        run: String,
    },
    /// Take a lock off an issue that no run here holds
    ///
    /// The in-progress label that a person put on by hand, or that another control plane
    /// left, keeps the loop off the whole repository. It comes off in your name, and the
    /// repo lock lets the next issue pass. A live run's own lock stays: `afk stop` ends
    /// that run. Ends with 3 where one holds the issue, with 0 where there is no lock.
    #[command(after_help = examples::RELEASE)]
    Release {
        /// The issue
        #[arg(value_name = "OWNER/REPO#N")]
        issue: String,
    },
    /// Tell a run's agent something
    ///
    /// It hears it in a turn of its own, when the turn that is under way is over. That
    /// turn costs no retry and no attempt.
    #[command(after_help = examples::SAY)]
    Say {
        /// The run or its issue
        #[arg(value_name = "RUN|OWNER/REPO#N")]
        run: String,
        /// What it is told; `-` reads standard input
        text: String,
    },
    /// Answer what a run's agent asks
    ///
    /// Where `permissions = "ask"`, a question waits `question_timeout_seconds` for a
    /// person, and then the agent is told to decide by itself. `afk show` says what is
    /// asked, and by when.
    #[command(after_help = examples::ANSWER)]
    Answer {
        /// The run or its issue
        #[arg(value_name = "RUN|OWNER/REPO#N")]
        run: String,
        /// The answer; `-` reads standard input
        text: String,
        #[command(flatten)]
        ask: AskArg,
    },
    /// Let a run's agent do what it asks a permission for, this once
    ///
    /// Where `permissions = "ask"`, each tool call that needs a permission waits
    /// `question_timeout_seconds` for a person, and is refused then. `afk show` says what
    /// is asked, and by when.
    #[command(after_help = examples::ALLOW)]
    Allow {
        /// The run or its issue
        #[arg(value_name = "RUN|OWNER/REPO#N")]
        run: String,
        #[command(flatten)]
        ask: AskArg,
    },
    /// Refuse what a run's agent asks a permission for
    ///
    /// The agent is told so, with your reason, and goes on without it.
    #[command(after_help = examples::DENY)]
    Deny {
        /// The run or its issue
        #[arg(value_name = "RUN|OWNER/REPO#N")]
        run: String,
        /// Why, for the agent; `-` reads standard input
        #[arg(default_value = "")]
        why: String,
        #[command(flatten)]
        ask: AskArg,
    },
    /// Change what a live run may spend in all
    ///
    /// A run that has spent its budget and has not ended goes on with more. The turn that
    /// is under way keeps what it began with.
    #[command(after_help = examples::BUDGET)]
    Budget {
        /// The run or its issue
        #[arg(value_name = "RUN|OWNER/REPO#N")]
        run: String,
        /// US dollars, all in all
        #[arg(value_name = "USD", allow_negative_numbers = true)]
        usd: String,
    },
    /// Whether an issue would be dispatched, gate by gate
    ///
    /// Asks every gate by the code that dispatches, and shows what of the issue's text
    /// the agent would not see. Ends with 0 when the loop would take the issue, and
    /// with 3 when a gate refuses or cannot be decided.
    #[command(after_help = examples::EXPLAIN)]
    Explain {
        /// The issue
        #[arg(value_name = "OWNER/REPO#N")]
        issue: String,
    },
    /// Why an issue was allowed to close
    ///
    /// The bundle as Markdown: who released the issue, what changed, the proof with its
    /// commands and outputs, each stage's answer, cost and sandbox. Ends with 3 while
    /// the bundle is not complete.
    #[command(after_help = examples::EVIDENCE)]
    Evidence(EvidenceArgs),
    /// Make a run's decisions again, and report any that would differ
    ///
    /// Checks that no row of the run's journal was edited, torn or removed, then feeds
    /// the rows through this binary's own decisions. Reads only. Ends with 0 when
    /// nothing differs, else with 1.
    #[command(after_help = examples::REPLAY)]
    Replay {
        /// The run or its issue
        #[arg(value_name = "RUN|OWNER/REPO#N")]
        run: String,
    },
    /// Who works where: people and agents
    ///
    /// Lists claims and live runs; each run is at its repository while it lives. A claim
    /// tells others, ends by itself, and holds up nothing: to keep the loop off a
    /// repository, `afk freeze` it.
    #[command(after_help = examples::PRESENCE)]
    Presence {
        #[command(subcommand)]
        command: Option<PresenceCommand>,
    },
    /// The local tracker: make, read and change issues
    ///
    /// Issues kept on this machine, with the same gates and the same loop as a forge's.
    /// Who does something is recorded and decides whether a label is trusted.
    #[command(after_help = examples::ISSUE)]
    Issue {
        #[command(subcommand)]
        command: IssueCommand,
    },
    /// Turn the kill switch off, in the configuration file
    ///
    /// From then on the loop takes ready issues of enrolled repositories. Comments and
    /// layout of the file stay.
    #[command(after_help = examples::ARM)]
    Arm,
    /// Turn the kill switch on, in the configuration file
    ///
    /// Nothing new is dispatched; runs in flight go on. To stop those too: `afk halt`.
    Disarm,
    /// Put a repository on the allowlist, in the configuration file
    ///
    /// A repository that is not configured yet needs `--remote` and `--verify`, which
    /// write its table. Comments and layout of the file stay; a file is made where
    /// there is none.
    #[command(after_help = examples::ENROLL)]
    Enroll(EnrollArgs),
    /// Take a repository off the allowlist, in the configuration file
    ///
    /// Its table stays. Runs that the loop dispatched there are cancelled.
    Unenroll(RepoArgs),
    /// Dispatch nothing new until `resume`
    ///
    /// Runs in flight go on. Obeyed within two seconds by whoever works this store.
    #[command(after_help = examples::PAUSE)]
    Pause {
        /// Why, for whoever wonders
        #[arg(long, value_name = "TEXT", default_value = "")]
        why: String,
    },
    /// Lift pause and halt
    ///
    /// Agents that a halt stopped go on with a turn that tells them so, free of charge.
    Resume,
    /// Stop everything: agents, jobs, landings
    ///
    /// No dispatch, no landing, no corrective turn; agents and jobs are interrupted
    /// within ten seconds. Runs keep their locks, and `resume` goes on with them.
    #[command(after_help = examples::HALT)]
    Halt {
        /// Why, for whoever wonders
        #[arg(long, value_name = "TEXT", default_value = "")]
        why: String,
    },
    /// Say that you have heard of a freeze: it rings no more
    ///
    /// A freeze that a run caused rings every `page_again_seconds` until somebody does.
    /// The repository stays frozen until `unfreeze`.
    #[command(after_help = examples::ACK)]
    Ack(RepoArgs),
    /// Dispatch and land nothing on one repository until `unfreeze`
    Freeze {
        /// The repository
        #[arg(value_name = "OWNER/NAME")]
        repo: String,
        /// Why, for whoever wonders
        #[arg(long, value_name = "TEXT", default_value = "")]
        why: String,
    },
    /// Lift the freeze of one repository
    Unfreeze(RepoArgs),
    /// Copy the store to a file, also while it is worked
    ///
    /// Runs, journal, switches, spend and local issues, as they are at one moment; whole or
    /// not at all. It says what it does not contain. To go back to it: stop everything that
    /// works the store, remove afk.db-wal and afk.db-shm, and put the copy at afk.db.
    #[command(after_help = examples::BACKUP)]
    Backup(BackupArgs),
    /// Check, describe and find the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Shell completions, on standard output
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Man pages: one on standard output, or all of them into a folder
    #[command(after_help = examples::MAN)]
    Man {
        /// The folder
        #[arg(value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}
