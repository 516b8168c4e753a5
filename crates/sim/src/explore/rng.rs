//! Random numbers that are the same on every machine, by splitmix64.

/// What numbers are drawn for. Each purpose has a stream of its own, so that no draw decides
/// another.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    /// What people and ports do, and the faults of calls.
    Acts = 1,
    /// The repos, issues and turns.
    Setting = 2,
    /// How many repos there are.
    Repos = 3,
    /// The interleaving of what runs at the same time.
    Schedule = 4,
    /// Whether dead processes are known to be dead.
    Buries = 5,
    /// Whether stages are polled.
    Polled = 6,
    /// What polled stages answer.
    Answers = 7,
    /// Whether people decide on pull requests, and how.
    People = 8,
    /// What happens just before a push.
    BeforePush = 9,
    /// Whether agents work on another machine.
    Far = 10,
    /// Default branches on which `verify` fails.
    RedBase = 11,
    /// Labels that allow a change without a test.
    Permits = 12,
    /// Rewritten default branches.
    Rewrites = 13,
    /// Stages that fail by chance.
    Flakes = 14,
    /// Issues that are released again.
    Retries = 15,
    /// Daemons and webhooks.
    Audience = 16,
    /// Rate limits.
    Limits = 17,
    /// Webhooks about stages and pull requests, late, lost or forged.
    Deliveries = 18,
    /// Commits of others under the trailer of a run.
    Claims = 19,
    /// Rebases that a turn leaves unfinished.
    Rebases = 20,
    /// Stages that print without end.
    Floods = 21,
    /// Whether packages are fetched before a judgement.
    Fetches = 22,
    /// Whether nobody answers at the address of a doorbell.
    DeadWebhook = 23,
    /// Whether labels are spelled in another case.
    Spelled = 24,
    /// Whether a red default branch is waited for.
    BaseHealth = 25,
}

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub(super) struct Rng(u64);

impl Rng {
    /// The stream of `seed` for one `purpose`, independent of the streams for others.
    pub(super) fn new(seed: u64, purpose: Purpose) -> Self {
        let mut rng = Self(seed ^ (purpose as u64).wrapping_mul(0xA076_1D64_78BD_642F));
        rng.next();
        rng
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 if `n` is 0.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next().checked_rem(n).unwrap_or(0)
    }

    /// True with a probability of `percent` per cent.
    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of `all`, which must not be empty.
    pub(super) fn pick<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize].clone()
    }
}
