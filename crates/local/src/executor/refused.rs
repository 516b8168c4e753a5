//! What the proxy of a turn's box refused on the network, as text for the turn's report.
//!
//! The names that a job asked for may contain secrets, so they are masked like its output.

use afk_agent::egress::Refusal;
use afk_agent::host::Job as Hosted;
use afk_core::ids::At;
use afk_engine::ports::{PortError, PortResult};

use super::LocalExecutor;

/// Maximum number of refusals in a report; the file in the job's folder has more.
const LINES: usize = 20;

impl LocalExecutor {
    /// Returns what `job` was refused since a moment, or ever, a line each.
    pub(super) async fn refusals_of(
        &self,
        job: &Hosted,
        since: Option<At>,
    ) -> PortResult<Vec<String>> {
        let found = job.refusals(since).await.map_err(PortError::transient)?;
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let mask = self.local.mask().await;
        Ok(lines(&found).iter().map(|line| mask.text(line).into_owned()).collect())
    }
}

fn lines(found: &[Refusal]) -> Vec<String> {
    let mut lines: Vec<String> = found.iter().take(LINES).map(line).collect();
    if let Some(more @ 1..) = found.len().checked_sub(LINES) {
        lines.push(format!("and {more} more"));
    }
    lines
}

fn line(refusal: &Refusal) -> String {
    let Refusal { target, why, times, at: _ } = refusal;
    match times {
        0 | 1 => format!("{target}: {why}"),
        times => format!("{target}: {why} ({times} times)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_refusals_are_told_in_few_lines() {
        let refusal = |n: usize, times: u64| Refusal {
            at: jiff::Timestamp::UNIX_EPOCH,
            target: format!("host-{n}:443"),
            why: "no".to_owned(),
            times,
        };
        assert_eq!(
            lines(&[refusal(1, 1), refusal(2, 3)]),
            ["host-1:443: no", "host-2:443: no (3 times)"]
        );
        let many: Vec<_> = (0..LINES + 2).map(|n| refusal(n, 1)).collect();
        let told = lines(&many);
        assert_eq!((told.len(), told.last().unwrap().as_str()), (LINES + 1, "and 2 more"));
        assert_eq!(lines(&many[..LINES]).len(), LINES);
    }
}
