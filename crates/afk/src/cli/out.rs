//! The one place that writes to the terminal: results to standard output, the rest to standard
//! error.
//!
//! A reader that goes away (`afk status | head -1`) is not an error: the remaining output is
//! dropped and the command runs to its end, because what it does may matter more than what it
//! prints. A full disk behind standard output is an error: the command still runs to its end, and
//! then fails. Log lines are written around the live view, so that neither garbles the other.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use afk_app::Error;
use afk_core::doorbell::Doorbell;
use indicatif::MultiProgress;
use serde::Serialize;
use tracing_subscriber::fmt::MakeWriter;

use super::args::ColorChoice;
use super::exit::{Answer, Exit};
use super::style::Paint;

/// Where a command writes to.
pub(super) struct Out {
    /// Whether the result is printed as one JSON document.
    pub(super) json: bool,
    /// Colour on standard output.
    pub(super) paint: Paint,
    /// Colour on standard error.
    pub(super) paint_err: Paint,
    /// The live part of the terminal; hidden if there is none.
    pub(super) progress: MultiProgress,
    /// Whether a live part may be drawn: both streams are terminals that can move the cursor, and
    /// the output is not JSON.
    pub(super) live: bool,
    /// Whether standard output can no longer be written to.
    gone: AtomicBool,
    /// Why standard output could not be written to, unless its reader merely went away.
    lost: OnceLock<io::Error>,
}

impl Out {
    /// Creates the outputs from the standard streams and the environment of this process.
    pub(super) fn new(json: bool, color: ColorChoice) -> Self {
        let paint = |terminal| Paint::new(color.wanted(terminal, |name| std::env::var_os(name)));
        let (out, err) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            json,
            paint: paint(out).within(width().filter(|_| out)),
            paint_err: paint(err),
            progress: MultiProgress::new(),
            live: err && out && !json && !dumb,
            gone: AtomicBool::new(false),
            lost: OnceLock::new(),
        }
    }

    /// Prints text on standard output, and ends the line.
    pub(super) fn say(&self, text: impl AsRef<str>) {
        let text = text.as_ref();
        let end = if text.ends_with('\n') { "" } else { "\n" };
        if self.gone.load(Ordering::Relaxed) {
            return;
        }
        let wrote = self.progress.suspend(|| {
            let mut stdout = io::stdout().lock();
            write!(stdout, "{text}{end}").and_then(|()| stdout.flush())
        });
        self.wrote(wrote);
    }

    /// Remembers that nothing more can be written, and why, unless the reader merely went away.
    fn wrote(&self, wrote: io::Result<()>) {
        if let Err(error) = wrote {
            self.gone.store(true, Ordering::Relaxed);
            if error.kind() != io::ErrorKind::BrokenPipe {
                // Only the first error is kept.
                let _ = self.lost.set(error);
            }
        }
    }

    /// Returns why standard output could not be written to, such as a full disk; none if it could,
    /// or if its reader merely went away.
    pub(super) fn lost(&self) -> Option<Error> {
        let error = self.lost.get()?;
        Some(Error::failed(format!("cannot write to standard output: {error}")))
    }

    /// Prints bytes on standard output as they are.
    pub(super) fn raw(&self, bytes: &[u8]) {
        if self.is_gone() {
            return;
        }
        let wrote = self.progress.suspend(|| {
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes).and_then(|()| stdout.flush())
        });
        self.wrote(wrote);
    }

    /// Whether standard output can no longer be written to.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Prints a remark on standard error; not with `--json`, where that is for errors, warnings and
    /// doorbells.
    pub(super) fn note(&self, text: impl AsRef<str>) {
        if !self.json {
            self.complain(text.as_ref());
        }
    }

    /// Prints a warning on standard error, in any mode.
    pub(super) fn warn(&self, text: &str) {
        if self.json {
            self.complain(&serde_json::json!({ "warning": text }).to_string());
        } else {
            self.complain(&format!("{} {text}", self.paint_err.warn("warning:")));
        }
    }

    /// Prints text on standard error, in any mode.
    pub(super) fn complain(&self, text: &str) {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        self.progress.suspend(|| {
            // There is nowhere to report a failure to write to standard error.
            let _ = write!(io::stderr().lock(), "{text}{end}");
        });
    }

    /// Returns what shows a doorbell on standard error, above the live part.
    pub(super) fn bell(&self) -> impl Fn(&Doorbell) + Send + Sync + 'static {
        let (json, progress) = (self.json, self.progress.clone());
        move |doorbell| {
            let text = if json {
                serde_json::json!({ "doorbell": doorbell }).to_string()
            } else {
                doorbell.title.clone()
            };
            progress.suspend(|| {
                let _ = writeln!(io::stderr().lock(), "{text}");
            });
        }
    }

    /// Prints the result: `document` with `--json`, otherwise `text`.
    pub(super) fn result<T: Serialize>(
        &self,
        document: &T,
        text: impl FnOnce(Paint) -> String,
    ) -> Answer<()> {
        if self.json {
            self.say(serde_json::to_string_pretty(document)?);
        } else {
            self.say(text(self.paint));
        }
        Ok(())
    }

    /// Prints on standard error why the command failed.
    pub(super) fn fail(&self, error: &Error) {
        if self.json {
            let exit = Exit::from(error.kind).code();
            let document = serde_json::json!({ "error": error.message, "exit": exit });
            self.complain(&document.to_string());
        } else {
            let word = self.paint_err.bad("error:");
            self.complain(&format!("{word} {error}"));
        }
    }
}

/// The width of the terminal at standard output; none if it has none, or does not say it.
fn width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|width| *width > 0)
}

/// Writes log lines on standard error, above the live part.
#[derive(Clone)]
pub(super) struct LogWriter(pub(super) MultiProgress);

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().lock().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
