//! How the world is changed around a call of a known-bad loop, and restored.

use std::collections::BTreeMap;

use afk_core::change::Tally;
use afk_core::checkout::Checkout;
use afk_core::doorbell::{Doorbell, DoorbellKind, Ring};
use afk_core::guardrails::GuardrailReport;
use afk_core::ids::RunId;
use afk_core::issue::same_label;
use afk_core::plan::{End, TurnCause};
use afk_core::proof::{ProofOutcome, ProofReport, Strength};
use afk_core::run::{Run, Transition, TurnEnd};
use afk_core::verdict::StageAnswer;
use afk_engine::ports::{DoorbellSend, JobKind, JobState};
use jiff::SignedDuration;

use crate::world::{GitCommit, IssueRecord, JobRecord, KeptRun, Lease, Send, World, own};

/// Makes the call `act` on a world in which `part` is changed by `bend`. Afterwards `part` is as it
/// was before, whatever `act` did to it.
pub(super) fn bending<P: Clone, T>(
    world: &mut World,
    part: fn(&mut World) -> &mut P,
    bend: impl FnOnce(&mut P),
    act: impl FnOnce(&mut World) -> T,
) -> T {
    let before = part(world).clone();
    bend(part(world));
    let answer = act(world);
    *part(world) = before;
    answer
}

/// Makes the call `act`, and undoes its effect on `part`.
pub(super) fn undoing<P: Clone, T>(
    world: &mut World,
    part: fn(&mut World) -> &mut P,
    act: impl FnOnce(&mut World) -> T,
) -> T {
    bending(world, part, |_| {}, act)
}

/// Makes the call `act`, by which no lease is renewed; leases newly taken last as usual.
pub(super) fn not_renewed<T>(world: &mut World, act: impl FnOnce(&mut World) -> T) -> T {
    let before = world.store.leases.clone();
    let answer = act(world);
    for (key, lease) in &mut world.store.leases {
        let same = |old: &&Lease| old.owner == lease.owner && old.generation == lease.generation;
        if let Some(old) = before.get(key).filter(same) {
            lease.until = old.until;
        }
    }
    answer
}

/// Makes the call `act` on a world without the runs for which `hidden` holds; they come back after
/// it.
pub(super) fn hiding<T>(
    world: &mut World,
    hidden: impl Fn(&KeptRun) -> bool,
    act: impl FnOnce(&mut World) -> T,
) -> T {
    let (gone, left): (BTreeMap<_, _>, BTreeMap<_, _>) =
        std::mem::take(&mut world.store.runs).into_iter().partition(|(_, kept)| hidden(kept));
    world.store.runs = left;
    let answer = act(world);
    world.store.runs.extend(gone);
    answer
}

/// Makes the call `act` on a world whose runs are changed; they are restored afterwards.
pub(super) fn rewriting<T>(
    world: &mut World,
    change: impl Fn(&mut Run),
    act: impl FnOnce(&mut World) -> T,
) -> T {
    let bend =
        |runs: &mut BTreeMap<_, KeptRun>| runs.values_mut().for_each(|one| change(&mut one.run));
    bending(world, |world| &mut world.store.runs, bend, act)
}

/// Makes the call `act`, and then makes every record what its journal says, whatever the loop
/// believed about it: such a loop must be caught by what it does, not by a record that differs.
pub(super) fn recording<T>(world: &mut World, act: impl FnOnce(&mut World) -> T) -> T {
    let answer = act(world);
    for (id, kept) in &mut world.store.runs {
        let rows = kept.journal.iter().filter_map(|row| {
            let transition = serde_json::from_str::<Transition>(&row.transition);
            transition.ok().map(|transition| (row.at, transition))
        });
        let told = rows.fold(None, |run: Option<Run>, (at, row)| match (run, row) {
            (None, Transition::Admitted { run }) => Some(*run),
            (Some(mut run), row) => {
                run.apply(at, row);
                Some(run)
            }
            (None, _) => None,
        });
        if let Some(told) = told.filter(|told| told.id == *id) {
            kept.run = told;
        }
    }
    answer
}

pub(super) fn clock_from_dispatch(run: &mut Run) {
    run.first_red_at = run.first_red_at.map(|_| run.admitted_at);
}

pub(super) fn without_costs(run: &mut Run) {
    let turns = run.attempts.iter_mut().flat_map(|attempt| &mut attempt.turns);
    for ended in turns.filter_map(|turn| turn.ended.as_mut()) {
        ended.facts.cost = None;
    }
}

pub(super) fn long_ago(run: &mut Run) {
    let turns = run.attempts.iter_mut().flat_map(|attempt| &mut attempt.turns);
    for ended in turns.filter_map(|turn| turn.ended.as_mut()) {
        ended.at = ended.at.checked_sub(SignedDuration::from_mins(10)).unwrap_or(ended.at);
    }
}

/// The record as if no turn had ended because the agent could not work.
pub(super) fn available(run: &mut Run) {
    let turns = run.attempts.iter_mut().flat_map(|attempt| &mut attempt.turns);
    for ended in turns.filter_map(|turn| turn.ended.as_mut()) {
        if let TurnEnd::Unavailable { message, .. } = &ended.how {
            ended.how = TurnEnd::Failed { message: message.clone() };
        }
    }
}

pub(super) fn unsent(run: &mut Run) {
    for candidate in run.attempts.iter_mut().flat_map(|attempt| &mut attempt.candidates) {
        candidate.sent_at = None;
    }
}

/// The record as if what an agent landed by itself had been judged.
pub(super) fn proved(run: &mut Run) {
    if run.checkout() != Checkout::Own {
        return;
    }
    for one in run.attempts.iter_mut().flat_map(|attempt| &mut attempt.candidates) {
        let stats = Tally::default();
        one.guardrails = Some(GuardrailReport { breaches: Vec::new(), further: 0, stats });
        one.proof = Some(ProofReport {
            outcome: ProofOutcome::Accepted(Strength::Proven),
            red_kind: None,
            red_tests: Vec::new(),
            runs: Vec::new(),
            reservations: Vec::new(),
            permit: None,
            unheeded: None,
            no_red: None,
            paths: Vec::new(),
            removed_test_lines: Vec::new(),
        });
    }
}

/// The record as if the default branch had been read after every turn.
pub(super) fn read(run: &mut Run) {
    for turn in run.attempts.iter_mut().flat_map(|attempt| &mut attempt.turns) {
        turn.read_at = turn.ended.as_ref().map(|ended| ended.at);
    }
}

pub(super) fn believing(run: &mut Run) {
    let candidates = run.attempts.iter_mut().flat_map(|attempt| &mut attempt.candidates);
    for stage in candidates.flat_map(|candidate| &mut candidate.stages) {
        stage.confirmed = stage.answer == StageAnswer::Failure;
    }
}

/// The record before the current corrective turn.
pub(super) fn uncorrected(run: &mut Run) {
    let corrects = run.attempt().is_some_and(|attempt| {
        matches!(attempt.cause, TurnCause::FixForward | TurnCause::Refused)
            && attempt.turns.iter().all(|turn| turn.ended.is_none())
    });
    if corrects {
        run.attempts.pop();
    }
}

/// The ready label comes back whenever the loop takes it off; once an issue is closed or handed
/// to people, the loop believes that the label is gone.
pub(super) fn ready_left_on<T>(
    world: &mut World,
    name: &str,
    act: impl FnOnce(&mut World) -> T,
) -> T {
    let ready = world.config.ready_label.clone();
    if name == "tracker.label" {
        let before = world.tracker.issues.clone();
        let answer = act(world);
        for (issue, now) in &mut world.tracker.issues {
            if before.get(issue).is_some_and(|then| then.has(&ready)) && !now.has(&ready) {
                now.issue.labels.push(ready.clone());
                now.events.retain(|event| {
                    event.actor.as_ref() != Some(&own()) || !event.what.removes(&ready)
                });
            }
        }
        return answer;
    }
    let human = world.config.human_label.clone();
    let bend = |issues: &mut BTreeMap<_, IssueRecord>| {
        for one in issues.values_mut().filter(|one| one.has(&human) || !one.issue.open) {
            one.issue.labels.retain(|label| !same_label(label, &ready));
        }
    };
    bending(world, |world| &mut world.tracker.issues, bend, act)
}

/// Adds a second doorbell to that of an end, of a kind that contradicts it.
pub(super) fn bell_twice<T>(world: &mut World, act: impl FnOnce(&mut World) -> T) -> T {
    let known = world.store.outbox.len();
    let answer = act(world);
    if world.store.outbox.len() > known {
        let runs = world.store.runs.values();
        let over =
            runs.filter(|kept| kept.run.conclusion.is_some() && kept.run.settled_at.is_none());
        for kept in over.map(|kept| kept.run.clone()).collect::<Vec<_>>() {
            for kind in [DoorbellKind::Done, DoorbellKind::NeedsHuman] {
                let ring = Ring {
                    run: kept.id,
                    issue: &kept.issue,
                    kind,
                    reason: None,
                    detail: "",
                    link: None,
                    nth: 0,
                };
                let (name, doorbell) = ("terminal".to_owned(), Doorbell::new(&ring));
                let send = DoorbellSend { name, doorbell };
                let (id, send) = (send.id(), Send::new(send, world.now));
                world.store.outbox.entry(id).or_insert(send);
            }
        }
    }
    answer
}

/// Replaces an impediment that may pass by an end and its doorbells, if nothing of the run is
/// alive.
pub(super) fn ended_by_error<T>(world: &mut World, act: impl FnOnce(&mut World) -> T) -> T {
    let before: Vec<_> = world.store.runs.iter().map(|(id, kept)| (*id, kept.clone())).collect();
    let answer = act(world);
    for (id, then) in before {
        let idle = world.alive(id).is_empty();
        let Some(kept) = world.store.runs.get_mut(&id).filter(|kept| kept.version > then.version)
        else {
            continue;
        };
        let Some(row) = kept.journal.last_mut() else { continue };
        let Ok(Transition::Impeded { by }) = serde_json::from_str(&row.transition) else {
            continue;
        };
        if !idle || by.needs_a_person() || then.run.conclusion.is_some() {
            continue;
        }
        let end = Transition::Concluded { end: End::NeedsHuman, why: by.sentence(), charged: None };
        row.transition = serde_json::to_string(&end).unwrap_or_default();
        let at = row.at;
        kept.run = then.run;
        kept.run.apply(at, end);
        let ring = Ring {
            run: id,
            issue: &kept.run.issue,
            kind: DoorbellKind::NeedsHuman,
            reason: None,
            detail: "",
            link: None,
            nth: 0,
        };
        let doorbell = Doorbell::new(&ring);
        for name in world.doorbells_wanting(doorbell.kind) {
            let send = DoorbellSend { name, doorbell: doorbell.clone() };
            world.store.outbox.insert(send.id(), Send::new(send, at));
        }
    }
    answer
}

pub(super) fn proves_again<T>(world: &mut World, act: impl FnOnce(&mut World) -> T) -> T {
    for record in world.jobs.jobs.values_mut() {
        let judges = matches!(record.job.kind, JobKind::Judge { .. });
        if judges && matches!(record.state, JobState::Ended(_)) {
            record.state = JobState::Lost;
        }
    }
    act(world)
}

/// Makes the call `act` on a world in which the bases of runs that had no turn yet passed.
pub(super) fn bases_pass<T>(world: &mut World, act: impl FnOnce(&mut World) -> T) -> T {
    let runs = world.store.runs.iter().filter(|(_, kept)| kept.run.attempts.is_empty());
    let fresh: Vec<_> = runs.map(|(id, _)| *id).collect();
    let bend = |jobs: &mut BTreeMap<(RunId, _), JobRecord>| {
        for ((run, _), record) in jobs {
            let JobState::Ended(end) = &mut record.state else { continue };
            if fresh.contains(run) && matches!(record.job.kind, JobKind::Judge { .. }) {
                end.code = Some(0);
            }
        }
    };
    bending(world, |world| &mut world.jobs.jobs, bend, act)
}

/// Makes the call `act` on a world in which stages that ended with `code` passed.
pub(super) fn stages_pass<T>(world: &mut World, code: i32, act: impl FnOnce(&mut World) -> T) -> T {
    let bend = |jobs: &mut BTreeMap<_, JobRecord>| {
        for record in jobs.values_mut() {
            let JobState::Ended(end) = &mut record.state else { continue };
            if matches!(record.job.kind, JobKind::Stage { .. }) && end.code == Some(code) {
                end.code = Some(0);
            }
        }
    };
    bending(world, |world| &mut world.jobs.jobs, bend, act)
}

/// Rings at once what the commit sends, and loses the commit.
pub(super) fn bell_first<T>(world: &mut World, act: impl FnOnce(&mut World) -> T) -> T {
    let (runs, outbox) = (world.store.runs.clone(), world.store.outbox.clone());
    let answer = act(world);
    let sent = world.store.outbox.iter().filter(|(id, _)| !outbox.contains_key(*id));
    let sent = sent.map(|(_, send)| (send.name.clone().unwrap_or_default(), send.doorbell.clone()));
    let sent: Vec<_> = sent.collect();
    if !sent.is_empty() {
        world.doorbells.rung.extend(sent);
        (world.store.runs, world.store.outbox) = (runs, outbox);
    }
    answer
}

/// Counts every row of a doorbell as delivered once one of them was.
pub(super) fn bells_as_one<T>(world: &mut World, act: impl FnOnce(&mut World) -> T) -> T {
    let answer = act(world);
    let rows = world.store.outbox.values();
    let rung: Vec<_> = rows.filter(|send| send.rung).map(|send| send.doorbell.id).collect();
    for send in world.store.outbox.values_mut() {
        send.rung |= rung.contains(&send.doorbell.id);
    }
    answer
}

/// Makes every row that was given up due again.
pub(super) fn bells_for_ever<T>(world: &mut World, act: impl FnOnce(&mut World) -> T) -> T {
    let answer = act(world);
    for send in world.store.outbox.values_mut() {
        send.given_up = false;
    }
    answer
}

/// Makes the call `act` on a world in which the default branches still have what live runs landed.
pub(super) fn landings_back<T>(world: &mut World, act: impl FnOnce(&mut World) -> T) -> T {
    let live = world.store.runs.values().map(|kept| &kept.run);
    let live = live.filter(|run| run.conclusion.is_none());
    let landed =
        live.filter_map(|run| Some((run.issue.repo.clone(), run.landed()?.commit.clone())));
    let purged = &world.git.purged;
    let back: Vec<_> = landed.filter(|(_, commit)| purged.contains(commit)).collect();
    bending(world, |world| &mut world.git.remotes, |remotes| remotes.extend(back), act)
}

/// Makes the call `act` on a world in which every default head descends from every commit.
pub(super) fn on_everything<T>(world: &mut World, act: impl FnOnce(&mut World) -> T) -> T {
    let heads: Vec<_> = world.git.remotes.values().cloned().collect();
    let all: Vec<_> = world.git.commits.keys().cloned().collect();
    let bend = |commits: &mut BTreeMap<_, GitCommit>| {
        for head in &heads {
            if let Some(commit) = commits.get_mut(head) {
                commit.parents.extend(all.iter().cloned());
            }
        }
    };
    bending(world, |world| &mut world.git.commits, bend, act)
}
