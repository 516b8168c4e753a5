//! Reads a job's output from the job's folder, with its secrets masked.
//!
//! Output of agents and jobs enters the control plane only here: a turn's stream and its
//! transcript, and the ends of both outputs. (Report files of a job are masked by `jobs`, commits
//! by `git_words`.) The files in the folder are unmasked, for the run's own use. The stream of a
//! turn that is over is masked in the file, too ([`Output::seal`]), so that its digest and its
//! transcript do not depend on which secrets are known later. Masks keep lengths, so offsets are
//! those of the file.

use std::ops::Range;
use std::sync::Arc;

use afk_agent::host::Job as Hosted;
use afk_core::digest::Digest;
use afk_core::text::{MASKED, Mask, REACH};
use afk_engine::ports::{PortError, PortResult};
use sha2::Digest as _;

use super::world::{Local, blocking};

/// How much output is sealed at once, in bytes.
const CHUNK: usize = 1 << 20;

/// The output of one job, and the mask that it is read through.
pub(super) struct Output<'a> {
    job: &'a Hosted,
    mask: Arc<Mask>,
}

impl Local {
    /// Returns the output of `job`.
    pub(super) async fn output<'a>(&self, job: &'a Hosted) -> Output<'a> {
        Output { job, mask: self.mask().await }
    }
}

impl Output<'_> {
    /// Reads up to `max` bytes of standard output from `offset` on; nothing at the current end.
    /// Unless the job has `ended`, an incomplete line is held back, because half a secret cannot be
    /// found.
    pub(super) async fn stdout(&self, offset: u64, max: usize, ended: bool) -> PortResult<Vec<u8>> {
        let from = offset.saturating_sub(REACH as u64);
        let before = usize::try_from(offset - from).unwrap_or(REACH);
        let wanted = before + max + REACH;
        let bytes = self.job.read_stdout(from, wanted).await.map_err(PortError::transient)?;
        let Some(part) = shown(&bytes, before, max, ended || bytes.len() == wanted) else {
            return Ok(Vec::new());
        };
        if part.is_empty() {
            return Ok(Vec::new());
        }
        let mask = self.mask.clone();
        blocking(move || mask.bytes(&bytes).get(part).unwrap_or_default().to_vec()).await
    }

    /// Reads the end of standard output, at most `max` bytes.
    pub(super) async fn stdout_tail(&self, max: usize) -> PortResult<Vec<u8>> {
        let tail = self.job.stdout_tail(max + REACH).await.map_err(PortError::transient)?;
        Ok(self.end_of(&tail, max))
    }

    /// Reads the end of standard error, at most `max` bytes.
    pub(super) async fn stderr_tail(&self, max: usize) -> PortResult<Vec<u8>> {
        let tail = self.job.stderr_tail(max + REACH).await.map_err(PortError::transient)?;
        Ok(self.end_of(&tail, max))
    }

    /// Masks the range `within` of standard output in the file, to which the job must not write any
    /// more, and returns the digest of the result. Safe to repeat.
    pub(super) async fn seal(&self, within: Range<u64>) -> PortResult<Digest> {
        let (mut digest, mut places) = (sha2::Sha256::new(), Vec::new());
        let mut at = within.start;
        while at < within.end {
            let from = at.saturating_sub(REACH as u64);
            let before = usize::try_from(at - from).unwrap_or(REACH);
            let most = usize::try_from(within.end - at).unwrap_or(CHUNK).min(CHUNK);
            let read = self.job.read_stdout(from, before + most + REACH).await;
            let mut bytes = read.map_err(PortError::transient)?;
            let end = (before + most).min(bytes.len());
            if end <= before {
                break;
            }
            let mask = self.mask.clone();
            let (read, found) = blocking(move || {
                let found = mask.places(&bytes);
                (bytes, found)
            })
            .await?;
            bytes = read;
            for place in found {
                let part = place.start.max(before)..place.end.min(end);
                if !part.is_empty() && bytes[part.clone()].iter().any(|b| *b != MASKED) {
                    places.push(from + part.start as u64..from + part.end as u64);
                    bytes[part].fill(MASKED);
                }
            }
            digest.update(&bytes[before..end]);
            at += (end - before) as u64;
        }
        if !places.is_empty()
            && let Err(error) = self.job.overwrite_stdout(places, MASKED).await
        {
            // A process that only reads may not write to the file. The output is masked wherever it
            // is read.
            tracing::debug!(%error, "the secrets in a turn's output file were not masked");
        }
        Ok(Digest::of_hash(digest))
    }

    fn end_of(&self, tail: &[u8], max: usize) -> Vec<u8> {
        let masked = self.mask.bytes(tail);
        masked[masked.len().saturating_sub(max)..].to_vec()
    }
}

/// Returns which part of `bytes` may be shown, at most `max` bytes. The first `before` bytes are
/// context. Only whole lines are shown, unless the output is `complete`; `None` if there is none.
fn shown(bytes: &[u8], before: usize, max: usize, complete: bool) -> Option<Range<usize>> {
    let end = bytes.len().min(before + max);
    let wanted = bytes.get(before..end)?;
    if complete {
        return Some(before..end);
    }
    let line = wanted.iter().rposition(|byte| *byte == b'\n')?;
    Some(before..before + line + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_line_is_held_back_until_the_rest_comes() {
        let check = |bytes: &str, before: usize, max: usize, complete: bool, expected: &str| {
            let part = shown(bytes.as_bytes(), before, max, complete).unwrap_or(0..0);
            assert_eq!(&bytes[part], expected, "{bytes:?} from {before}, at most {max}");
        };
        check("one\ntwo\nthr", 0, 100, false, "one\ntwo\n");
        check("one\ntwo\nthr", 0, 100, true, "one\ntwo\nthr");
        check("one\ntwo\nthr", 4, 100, false, "two\n");
        check("one\ntwo\nthr", 8, 100, false, "");
        check("one\ntwo\nthr", 4, 2, false, "");
        check("one\ntwo\nthr", 4, 2, true, "tw");
        check("one\n", 4, 100, true, "");
        check("one\n", 9, 100, true, "");
    }
}
