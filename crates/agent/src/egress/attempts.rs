//! Attempts to leave a box past the proxy.
//!
//! The box's network namespace has no route, so each attempt fails at once, whatever it is: TCP,
//! UDP, a name server's port, IPv4 or IPv6. The kernel counts them by namespace, and shows the
//! counters in files that stay readable from outside once they were opened inside. It does not tell
//! where an attempt wanted to go.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// How much of a file of counters is read, in bytes.
const SIZE: usize = 64 << 10;

/// The counters of a box, and their values at the last look.
#[derive(Debug)]
pub(super) struct AttemptCounters {
    v4: File,
    v6: Option<File>,
    seen: [u64; 2],
}

/// Numbers of attempts since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attempts {
    pub(super) v4: u64,
    pub(super) v6: u64,
}

impl AttemptCounters {
    /// Begins to count, from now on, by files that were opened in the box.
    pub(super) fn new(v4: File, v6: Option<File>) -> io::Result<Self> {
        let mut counters = Self { v4, v6, seen: [0; 2] };
        counters.new_attempts()?;
        Ok(counters)
    }

    /// Returns how often the job tried since the last look.
    pub(super) fn new_attempts(&mut self) -> io::Result<Attempts> {
        let v4 = of_v4(&text(&self.v4)?).unwrap_or(self.seen[0]);
        let v6 = match &self.v6 {
            Some(file) => of_v6(&text(file)?).unwrap_or(self.seen[1]),
            None => 0,
        };
        let new =
            Attempts { v4: v4.saturating_sub(self.seen[0]), v6: v6.saturating_sub(self.seen[1]) };
        self.seen = [v4, v6];
        Ok(new)
    }
}

fn text(file: &File) -> io::Result<String> {
    let mut bytes = vec![0; SIZE];
    let mut len = 0;
    while len < bytes.len() {
        match file.read_at(&mut bytes[len..], len as u64)? {
            0 => break,
            read => len += read,
        }
    }
    Ok(String::from_utf8_lossy(&bytes[..len]).into_owned())
}

/// Reads `OutNoRoutes` from `/proc/net/snmp`: a line with names, and one with numbers.
fn of_v4(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Ip: "));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let mut both = names.split(' ').zip(numbers.split(' '));
    both.find(|(name, _)| *name == "OutNoRoutes")?.1.parse().ok()
}

/// Reads `Ip6OutNoRoutes` from `/proc/net/snmp6`.
fn of_v6(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Ip6OutNoRoutes"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_are_found_among_the_others() {
        let v4 = "Ip: Forwarding OutDiscards OutNoRoutes ReasmTimeout\nIp: 1 2 34 5\nIcmp: InMsgs\nIcmp: 7\n";
        assert_eq!(of_v4(v4), Some(34));
        assert_eq!(of_v4("Ip: a b\nIp: 1 2\n"), None);
        let v6 = "Ip6InReceives      \t1\nIp6OutNoRoutes                  \t12\nIcmp6InMsgs 3\n";
        assert_eq!((of_v6(v6), of_v6("")), (Some(12), None));
    }

    #[test]
    fn this_kernel_tells_them() {
        let open = |name: &str| File::open(format!("/proc/self/net/{name}"));
        let mut counters = AttemptCounters::new(open("snmp").unwrap(), open("snmp6").ok()).unwrap();
        assert!(of_v4(&text(&counters.v4).unwrap()).is_some());
        counters.new_attempts().unwrap();
    }
}
