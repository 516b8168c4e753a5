//! The name that this process uses in leases. It identifies the process, so that others on the
//! machine can tell whether it is still alive.

use std::{fmt, fs};

use afk_agent::host::boot;
use afk_agent::sandbox::processes::ProcessId;
use jiff::Timestamp;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::Serialize;
use uuid::Uuid;

/// The process that a name stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// The process id, in the process's own machine or container.
    pub pid: i32,
    /// The name of the machine or container.
    pub host: String,
    /// When the process made its name, which is when it started.
    pub since: Timestamp,
}

impl Holder {
    /// Returns the process with this name; `None` if the name cannot be parsed.
    pub fn of(owner: &str) -> Option<Self> {
        let parts = parts(owner)?;
        let (seconds, nanos) = Uuid::try_parse(parts.id).ok()?.get_timestamp()?.to_unix();
        let since = Timestamp::new(seconds.try_into().ok()?, nanos.try_into().ok()?).ok()?;
        Some(Self { pid: parts.process.pid, host: parts.host.to_owned(), since })
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.since.strftime("%Y-%m-%d %H:%M:%SZ");
        write!(f, "process {} on {}, since {since}", self.pid, self.host)
    }
}

/// The process with this name, in words; the name itself if it cannot be parsed.
pub fn in_words(owner: &str) -> String {
    Holder::of(owner).map_or_else(|| owner.to_owned(), |holder| holder.to_string())
}

/// Makes a unique name for this process: its id, its start time, this boot, its pid namespace, the
/// host, and a time-ordered UUID.
pub fn of_this_process() -> String {
    let (pid, start) = ProcessId::own().map_or((0, 0), |own| (own.pid, own.start));
    format!("{pid}/{start}/{}/{}/{}/{}", boot(), ids(), host(), Uuid::now_v7())
}

/// Whether the process with this name is certainly dead. A process whose name cannot be parsed, or
/// that is in another container, counts as alive, because nothing is known about it.
pub fn is_dead(owner: &str) -> bool {
    let Some(parts) = parts(owner) else { return false };
    if parts.boot == boot() {
        parts.ids == ids() && is_gone(parts.process)
    } else {
        parts.host == host()
    }
}

/// Whether the process has certainly ended. That `/proc` does not show it proves nothing: mounted
/// with `hidepid`, it hides the daemon, whose environment other processes may not read.
fn is_gone(process: ProcessId) -> bool {
    if ProcessId::of(process.pid).is_some() {
        return !process.is_alive();
    }
    let pid = Pid::from_raw(process.pid.max(0));
    pid.is_none_or(|pid| test_kill_process(pid) == Err(Errno::SRCH))
}

struct Parts<'a> {
    process: ProcessId,
    boot: &'a str,
    ids: &'a str,
    host: &'a str,
    id: &'a str,
}

fn parts(owner: &str) -> Option<Parts<'_>> {
    let parts: Vec<&str> = owner.split('/').collect();
    let [pid, start, boot, ids, host, id] = *parts.as_slice() else { return None };
    let process = ProcessId { pid: pid.parse().ok()?, start: start.parse().ok()? };
    Some(Parts { process, boot, ids, host, id })
}

/// Returns the pid namespace: each container has its own process ids.
fn ids() -> String {
    let link = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    link.to_string_lossy().replace('/', "")
}

fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().replace('/', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_dead_when_it_is_gone_or_of_another_boot() {
        let own = of_this_process();
        assert!(!is_dead(&own), "{own}");
        assert!(!is_dead("somebody-else"));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let id = ProcessId::of(child.id().cast_signed()).unwrap();
        let made = |boot: &str, ids: &str, host: &str| {
            format!("{}/{}/{boot}/{ids}/{host}/x", id.pid, id.start)
        };
        let name = made(&boot(), &ids(), &host());
        assert!(!is_dead(&name), "{name}");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is_dead(&name), "{name}");
        // A process id of another container says nothing here; an earlier boot does.
        assert!(!is_dead(&made(&boot(), "pid:[1]", "other")));
        assert!(is_dead(&made("other-boot", &ids(), &host())));
        assert!(!is_dead(&made("other-boot", &ids(), "other")));
    }

    #[test]
    fn a_name_tells_who_and_since_when() {
        let before = Timestamp::now();
        let own = Holder::of(&of_this_process()).unwrap();
        assert_eq!(own.pid.cast_unsigned(), std::process::id());
        assert_eq!(own.host, host());
        assert!(own.since.duration_since(before).as_secs().abs() <= 1, "{own}");
        assert_eq!(Holder::of("somebody-else"), None);
        assert!(in_words(&of_this_process()).starts_with("process "), "{own}");
        assert_eq!(in_words("somebody-else"), "somebody-else");
    }
}
