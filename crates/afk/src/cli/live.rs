//! Shows runs while they progress: a live board on a terminal, a line for each change elsewhere,
//! nothing with `--json`.

use std::collections::BTreeMap;
use std::time::Duration;

use afk_app::views::{RunView, is_halted};
use afk_core::ids::RunId;
use afk_engine::Engine;
use indicatif::{ProgressBar, ProgressStyle};

use super::out::Out;
use super::render::{board, news};

/// How often the runs are read.
const BEAT: Duration = Duration::from_millis(250);
/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(120);
/// The width of a terminal that does not report one, in columns.
const WIDTH: usize = 80;

/// The runs of an engine to show: all live ones, or a single one.
pub(super) struct EngineWatch {
    engine: Engine,
    only: Option<RunId>,
    /// The runs to read: those that were live when last seen.
    known: Vec<RunId>,
    /// How a person calls this program for these runs.
    afk: String,
}

impl EngineWatch {
    /// Watches all live runs, or `only` this one. `afk` is how a person calls this program for
    /// them, with the configuration that they belong to.
    pub(super) fn new(engine: Engine, only: Option<RunId>, afk: String) -> Self {
        Self { engine, only, known: only.into_iter().collect(), afk }
    }

    /// Reads the current runs; one that has settled is returned a last time.
    async fn look(&mut self) -> Vec<RunView> {
        let (engine, known) = (&self.engine, &mut self.known);
        let ports = engine.ports();
        if self.only.is_none() {
            match ports.store.live_runs().await {
                Ok(live) => {
                    let fresh = live.iter().map(|one| one.run);
                    let fresh: Vec<_> = fresh.filter(|id| !known.contains(id)).collect();
                    known.extend(fresh);
                }
                Err(error) => tracing::debug!(error = error.chain(), "live runs unreadable"),
            }
        }
        let halted = is_halted(engine).await;
        let mut views = Vec::new();
        for id in &*known {
            if let Ok(Some(stored)) = ports.store.load(*id).await {
                views.push(RunView::read(engine, &stored.run, halted).await);
            }
        }
        let settled = |id: &RunId| views.iter().any(|view| view.run == *id && view.settled);
        known.retain(|id| !settled(id));
        views
    }
}

/// Awaits `work`, and shows what `watch` reads until it is done.
pub(super) async fn beside<T>(
    out: &Out,
    watch: &mut EngineWatch,
    work: impl Future<Output = T>,
) -> T {
    if out.json {
        return work.await;
    }
    let mut screen = Screen::new(out, watch.afk.clone());
    tokio::pin!(work);
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            () = tokio::time::sleep(BEAT) => {}
        }
        // The runs are read beside the work, which must not wait for that.
        tokio::select! {
            done = &mut work => break done,
            views = watch.look() => screen.show(out, views),
        }
    };
    screen.show(out, watch.look().await);
    screen.clear(out);
    done
}

struct Screen {
    bar: Option<ProgressBar>,
    /// How a person calls this program for the runs that are shown.
    afk: String,
    seen: BTreeMap<RunId, RunView>,
}

impl Screen {
    fn new(out: &Out, afk: String) -> Self {
        let bar = out.live.then(|| {
            let bar = out.progress.add(ProgressBar::new_spinner());
            // Without the template the bar would still move, only plainer.
            if let Ok(style) = ProgressStyle::with_template("{msg}\n{spinner:.dim}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { bar, afk, seen: BTreeMap::new() }
    }

    fn show(&mut self, out: &Out, views: Vec<RunView>) {
        match &self.bar {
            Some(bar) => {
                let width = console_width();
                for view in views.iter().filter(|view| view.settled) {
                    let news = news(self.seen.get(&view.run), view, &self.afk);
                    bar.println(news.last().map_or("", String::as_str));
                }
                bar.set_message(board(&views, width, &self.afk, out.paint_err));
            }
            None => {
                for view in &views {
                    for line in news(self.seen.get(&view.run), view, &self.afk) {
                        out.note(line);
                    }
                }
            }
        }
        self.seen.extend(views.into_iter().map(|view| (view.run, view)));
    }

    fn clear(&self, out: &Out) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            out.progress.remove(bar);
        }
    }
}

/// The width of the terminal at standard error.
fn console_width() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stderr());
    // A terminal that does not know its size reports 0.
    size.ok().map(|size| usize::from(size.ws_col)).filter(|width| *width > 0).unwrap_or(WIDTH)
}
