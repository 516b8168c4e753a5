//! The admission queue as a state machine without I/O: who runs, who waits, who is refused.
//!
//! Called by [`super::Admission`] under its lock. Invariants, for whatever sequence of calls:
//! - at most `capacity` tickets are active, and none waits for capacity that is free;
//! - active and waiting together are at most `depth`;
//! - tickets without a key run in the order in which they came;
//! - of one key at most one ticket is active, its tickets run in the order in which they came, and a
//!   key has at most one place in the common queue: fifty turns of one conversation hold up its own
//!   next turn and nobody else's.

use std::collections::{BTreeMap, HashMap, VecDeque};

/// How many calls are admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// How many run at once at most.
    pub(crate) capacity: usize,
    /// How many run and wait together at most.
    pub(crate) depth: usize,
}

/// Identifies one admitted call. Later calls have larger numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(u64);

/// Groups calls that must not overlap, such as turns of one conversation.
pub(crate) type Key = String;

/// Active and waiting calls.
#[derive(Debug)]
pub(crate) struct Queue {
    bounds: Bounds,
    next: u64,
    active: BTreeMap<Ticket, Option<Key>>,
    /// Each key is here at most once, and never while one of its tickets is active.
    waiting: VecDeque<(Ticket, Option<Key>)>,
    /// Tickets behind another one of their key, which is active or in `waiting`.
    behind: HashMap<Key, VecDeque<Ticket>>,
    held_back: usize,
}

impl Queue {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            next: 0,
            active: BTreeMap::new(),
            waiting: VecDeque::new(),
            behind: HashMap::new(),
            held_back: 0,
        }
    }

    /// Admits a call; `None` if the queue is full. [`Queue::is_active`] tells whether it runs.
    pub(crate) fn enter(&mut self, key: Option<Key>) -> Option<Ticket> {
        if self.active.len() + self.queued() >= self.bounds.depth {
            return None;
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        match key {
            Some(key) if self.is_taken(&key) => {
                self.behind.entry(key).or_default().push_back(ticket);
                self.held_back += 1;
            }
            key => self.waiting.push_back((ticket, key)),
        }
        self.advance();
        Some(ticket)
    }

    /// Takes a call out, whether it ran or waited. Returns the tickets that run from now on.
    pub(crate) fn leave(&mut self, ticket: Ticket) -> Vec<Ticket> {
        let key = if let Some(key) = self.active.remove(&ticket) {
            key
        } else if let Some(at) = self.waiting.iter().position(|(waits, _)| *waits == ticket) {
            self.waiting.remove(at).and_then(|(_, key)| key)
        } else {
            for line in self.behind.values_mut() {
                if let Some(at) = line.iter().position(|waits| *waits == ticket) {
                    line.remove(at);
                    self.held_back -= 1;
                }
            }
            self.behind.retain(|_, line| !line.is_empty());
            return Vec::new();
        };
        if let Some(key) = key {
            self.promote(key);
        }
        self.advance()
    }

    pub(crate) fn is_active(&self, ticket: Ticket) -> bool {
        self.active.contains_key(&ticket)
    }

    pub(crate) fn active(&self) -> usize {
        self.active.len()
    }

    pub(crate) fn queued(&self) -> usize {
        self.waiting.len() + self.held_back
    }

    pub(crate) fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Whether a ticket of this key runs or is in the common queue.
    fn is_taken(&self, key: &str) -> bool {
        let is = |held: &Option<Key>| held.as_deref() == Some(key);
        self.active.values().any(is) || self.waiting.iter().any(|(_, held)| is(held))
    }

    /// Puts the next ticket of a key at the end of the common queue.
    fn promote(&mut self, key: Key) {
        let Some(line) = self.behind.get_mut(&key) else { return };
        let next = line.pop_front();
        if line.is_empty() {
            self.behind.remove(&key);
        }
        if let Some(next) = next {
            self.held_back -= 1;
            self.waiting.push_back((next, Some(key)));
        }
    }

    fn advance(&mut self) -> Vec<Ticket> {
        let mut started = Vec::new();
        while self.active.len() < self.bounds.capacity {
            let Some((ticket, key)) = self.waiting.pop_front() else { break };
            self.active.insert(ticket, key);
            started.push(ticket);
        }
        started
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { capacity: 2, depth: 5 };

    /// Plays words such as `a` (enters with key "a"), `-` (enters without), `<0` (ticket 0 leaves)
    /// and compares who is active and how many wait.
    #[track_caller]
    fn check(bounds: Bounds, words: &str, active: &[u64], queued: usize) {
        let mut queue = Queue::new(bounds);
        for word in words.split_whitespace() {
            if let Some(n) = word.strip_prefix('<') {
                queue.leave(Ticket(n.parse().unwrap()));
            } else {
                let key = (word != "-").then(|| word.to_owned());
                queue.enter(key);
            }
        }
        let running: Vec<u64> = queue.active.keys().map(|ticket| ticket.0).collect();
        assert_eq!((running.as_slice(), queue.queued()), (active, queued), "{words}");
    }

    #[test]
    fn calls_run_in_the_order_in_which_they_came_up_to_capacity() {
        check(BOUNDS, "", &[], 0);
        check(BOUNDS, "-", &[0], 0);
        check(BOUNDS, "- - - -", &[0, 1], 2);
        check(BOUNDS, "- - - - <0", &[1, 2], 1);
        check(BOUNDS, "- - - - <2", &[0, 1], 1);
        check(BOUNDS, "- - - - <2 <1", &[0, 3], 0);
    }

    #[test]
    fn the_depth_bounds_active_and_queued_together() {
        check(BOUNDS, "- - - - - - -", &[0, 1], 3);
        check(BOUNDS, "- - - - - - <0 -", &[1, 2], 3);
        let mut queue = Queue::new(Bounds { capacity: 1, depth: 1 });
        let first = queue.enter(None).unwrap();
        assert_eq!(queue.enter(None), None);
        queue.leave(first);
        assert!(queue.enter(Some("a".into())).is_some());
    }

    #[test]
    fn turns_of_one_conversation_queue_behind_each_other_and_starve_no_other() {
        let one = Bounds { capacity: 1, depth: 100 };
        check(BOUNDS, "a a a -", &[0, 3], 2);
        check(one, "a a a b <0", &[3], 2);
        check(one, "a a a b <0 <3", &[1], 1);
        check(one, "a a a b <0 <3 <1", &[2], 0);
        // A turn that gives up while it waits does not stop the next.
        check(BOUNDS, "a a a <1 <0", &[2], 0);
        check(one, "- a a <1", &[0], 1);
        check(one, "- a a <1 <0", &[2], 0);
    }

    proptest! {
        #[test]
        fn the_invariants_hold_whatever_happens(
            calls in proptest::collection::vec((0u8..3, 0u64..40), 0..200),
        ) {
            let bounds = Bounds { capacity: 3, depth: 9 };
            let mut queue = Queue::new(bounds);
            let mut inside = Vec::new();
            for (what, which) in calls {
                match what {
                    0 => inside.extend(queue.enter(None)),
                    1 => inside.extend(queue.enter(Some(format!("key {}", which % 3)))),
                    _ if !inside.is_empty() => {
                        let ticket = inside.remove(which as usize % inside.len());
                        queue.leave(ticket);
                    }
                    _ => {}
                }
                prop_assert!(queue.active() <= bounds.capacity);
                prop_assert_eq!(queue.active() + queue.queued(), inside.len());
                prop_assert!(inside.len() <= bounds.depth);
                prop_assert!(queue.waiting.is_empty() || queue.active() == bounds.capacity);
                let mut keys: Vec<_> = queue.active.values().chain(queue.waiting.iter().map(|(_, key)| key)).flatten().collect();
                let all = keys.len();
                keys.sort();
                keys.dedup();
                prop_assert_eq!(keys.len(), all);
            }
            for ticket in inside {
                queue.leave(ticket);
            }
            prop_assert_eq!((queue.active(), queue.queued()), (0, 0));
            prop_assert!(queue.behind.is_empty());
        }
    }
}
