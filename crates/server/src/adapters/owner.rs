//! The name that this process signs its leases with: it says which process it is,
//! so that others on the machine can tell whether it still lives.

use std::fs;

use afk_agent::sandbox::processes::ProcessId;
use uuid::Uuid;

/// A name for this process, never used again: its id, its start, this boot, and chance.
pub fn of_this_process() -> String {
    let (pid, start) = ProcessId::own().map_or((0, 0), |own| (own.pid, own.start));
    format!("{pid}/{start}/{}/{}", boot(), Uuid::now_v7())
}

/// Whether the process that a name was made for is surely gone. A name that is not
/// understood may be another machine's: it is left alone.
pub fn is_dead(owner: &str) -> bool {
    let parts: Vec<&str> = owner.split('/').collect();
    let [pid, start, boot_then, _] = parts.as_slice() else { return false };
    let (Ok(pid), Ok(start)) = (pid.parse(), start.parse()) else { return false };
    *boot_then != boot() || !ProcessId { pid, start }.is_alive()
}

/// This boot of this machine.
fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
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
        let name = format!("{}/{}/{}/x", id.pid, id.start, boot());
        assert!(!is_dead(&name), "{name}");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is_dead(&name), "{name}");
        assert!(is_dead(&format!("{}/{}/other-boot/x", std::process::id(), 1)));
    }
}
