//! Tables of histories, and the rule of trust stated in reverse as a property.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use proptest::prelude::*;

const READY: &str = "ready-for-agent";

fn actor(login: &str) -> Actor {
    Actor { id: format!("id-{login}"), login: login.into(), bot: login.ends_with("[bot]") }
}

/// `<second> <who> <what>`; `?` is an account that the tracker does not name.
fn event(text: &str) -> IssueEvent {
    let mut words = text.split(' ');
    let at = At::from_second(words.next().unwrap().parse().unwrap()).unwrap();
    let who = words.next().unwrap();
    let label = READY.to_owned();
    let what = match words.next().unwrap() {
        "on" => IssueChange::Labeled { label },
        "off" => IssueChange::Unlabeled { label },
        "other" => IssueChange::Labeled { label: "bug".into() },
        "title" => IssueChange::Renamed,
        "body" => IssueChange::Edited,
        "close" => IssueChange::Closed,
        other => panic!("{other}"),
    };
    IssueEvent { at, actor: (who != "?").then(|| actor(who)), what }
}

fn permission_of(actor: &Actor) -> Option<Permission> {
    match actor.login.as_str() {
        "owner" => Some(Permission::Admin),
        "dev" | "dev[bot]" => Some(Permission::Write),
        "triager" => Some(Permission::Triage),
        "dark" => None,
        _ => Some(Permission::None),
    }
}

fn ask(events: &[&str], policy: &TrustPolicy) -> Trust {
    let events: Vec<_> = events.iter().map(|e| event(e)).collect();
    trust(&events, READY, policy, OnBehalf::NOBODY, &permission_of)
}

#[track_caller]
fn check(events: &[&str], expected: Result<&str, &str>) {
    let seen = match ask(events, &TrustPolicy::default()) {
        Trust::Trusted { by, .. } => Ok(by.login),
        Trust::Refused { why } => Err(why.to_string()),
    };
    match (&seen, expected) {
        (Ok(by), Ok(who)) => assert_eq!(by, who),
        (Err(why), Err(part)) => assert!(why.contains(part), "{why:?} lacks {part:?}"),
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => panic!("{events:?}: {seen:?}"),
    }
}

#[test]
fn the_last_label_decides() {
    check(&[], Err("no event"));
    check(&["1 dev other"], Err("no event"));
    check(&["1 dev on"], Ok("dev"));
    check(&["1 stranger on", "2 dev on"], Ok("dev"));
    check(&["1 dev on", "2 stranger on"], Err("stranger (id id-stranger) added"));
    check(&["1 dev on", "2 dev off"], Err("removed by dev"));
    check(&["1 dev on", "2 dev off", "3 owner on", "4 dev close"], Ok("owner"));
    check(&["1 dev on", "2 ? off"], Err("removed by an unknown"));
    // If events come in the wrong order, their times decide.
    check(&["5 dev off", "1 dev on"], Err("removed"));
}

#[test]
fn who_cannot_be_told_or_is_too_low_is_refused() {
    check(&["1 ? on"], Err("does not say who"));
    check(&["1 triager on"], Err("who has triage permission and needs write"));
    check(&["1 dark on"], Err("could not be read"));
    check(&["1 dev[bot] on"], Err("a bot that is not listed"));
}

#[test]
fn an_untrusted_edit_after_the_label_stays_until_the_next_label() {
    check(&["1 stranger body", "3 dev on"], Ok("dev"));
    check(&["1 dev on", "3 owner title"], Ok("dev"));
    check(&["1 dev on", "3 stranger title"], Err("the title was changed"));
    check(&["1 dev on", "3 stranger body", "5 dev body"], Err("the body was changed"));
    check(&["1 dev on", "3 stranger body", "5 dev on"], Ok("dev"));
    check(&["1 dev on", "3 ? body"], Err("by an unknown account"));
    check(&["1 dev on", "3 dark body"], Err("whose permission could not be read"));
    check(&["3 stranger body", "3 dev on"], Err("the body was changed"));
}

#[test]
fn the_policy_can_list_by_id_and_raise_the_bar() {
    let listed = TrustPolicy { allow_ids: ["id-dev[bot]".into()].into(), ..Default::default() };
    assert!(matches!(
        ask(&["1 dev[bot] on"], &listed),
        Trust::Trusted { ground: Ground::Listed, .. }
    ));
    // A name is not an id.
    let named = TrustPolicy { allow_ids: ["dev[bot]".into()].into(), ..Default::default() };
    assert!(matches!(ask(&["1 dev[bot] on"], &named), Trust::Refused { .. }));
    let high = TrustPolicy { least: Permission::Admin, ..Default::default() };
    assert!(matches!(ask(&["1 dev on"], &high), Trust::Refused { .. }));
    let none = TrustPolicy { least: Permission::None, ..Default::default() };
    assert!(matches!(ask(&["1 stranger on"], &none), Trust::Refused { .. }));
}

#[test]
fn only_what_could_not_be_read_is_unknown() {
    let unknown = |events: &[&str]| match ask(events, &TrustPolicy::default()) {
        Trust::Trusted { .. } => false,
        Trust::Refused { why } => why.is_unknown(),
    };
    assert!(unknown(&["1 dark on"]));
    assert!(unknown(&["1 dev on", "3 dark body"]));
    assert!(!unknown(&["1 stranger on"]));
    assert!(!unknown(&[]));
}

/// Requests as `<second> <who>`, asked in comments, and our account `afk[bot]`.
#[track_caller]
fn check_asked(asked: &[&str], events: &[&str], expected: Result<&str, &str>) {
    let request = |(n, line): (usize, &&str)| {
        let (second, who) = line.split_once(' ').unwrap();
        let at = At::from_second(second.parse().unwrap()).unwrap();
        PersonRequest { id: format!("comment:{n}"), by: actor(who), at, what: Request::Release }
    };
    let asked: Vec<_> = asked.iter().enumerate().map(request).collect();
    let events: Vec<_> = events.iter().map(|e| event(e)).collect();
    let behalf = OnBehalf { own: "id-afk[bot]", asked: &asked };
    let seen = match trust(&events, READY, &TrustPolicy::default(), behalf, &permission_of) {
        Trust::Trusted { by, at, request_id, .. } => {
            let request = request_id.unwrap_or_else(|| "no request".to_owned());
            Ok(format!("{} at {} by {request}", by.login, at.as_second()))
        }
        Trust::Refused { why } => Err(why.to_string()),
    };
    match (&seen, expected) {
        (Ok(by), Ok(who)) => assert_eq!(by, who),
        (Err(why), Err(part)) => assert!(why.contains(part), "{why:?} lacks {part:?}"),
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => panic!("{asked:?} {events:?}: {seen:?}"),
    }
}

#[test]
fn each_refusal_is_a_whole_sentence() {
    let by = || actor("dev");
    let at = At::UNIX_EPOCH;
    let first = "1970-01-01 00:00:00Z";
    let edited = |what, by| ReleaseRefusal::Edited { what, at, by };
    let again = "a trusted person must take the ready label off and put it on again";
    for (refusal, expected) in [
        (
            ReleaseRefusal::NeverLabelled,
            "nobody has released it: no event shows who added the ready label; put it on at the \
             forge, or with `afk issue label`"
                .to_owned(),
        ),
        (
            ReleaseRefusal::LabelOff { by: Some(by()), at },
            format!("the ready label was removed by dev (id id-dev) at {first}"),
        ),
        (
            ReleaseRefusal::LabelOff { by: None, at },
            format!("the ready label was removed by an unknown account at {first}"),
        ),
        (
            ReleaseRefusal::LabelGone,
            "the ready label is not on the issue any more, and no event shows who removed it"
                .to_owned(),
        ),
        (
            ReleaseRefusal::Unattributed { at },
            format!("the tracker does not say who added the ready label at {first}"),
        ),
        (
            ReleaseRefusal::Labeller { by: by(), why: Distrust::Bot },
            "dev (id id-dev) added the ready label, a bot that is not listed by id".to_owned(),
        ),
        (
            ReleaseRefusal::Asker { by: by(), why: Distrust::Unknown },
            "dev (id id-dev) requested the ready label in a comment, whose permission could not be \
             read"
            .to_owned(),
        ),
        (
            edited(Part::Body, None),
            format!(
                "the body was changed at {first}, after the release, by an unknown account; {again}"
            ),
        ),
        (
            edited(Part::Title, Some(Editor { by: by(), why: Distrust::Unknown })),
            format!(
                "the title was changed at {first}, after the release, by dev (id id-dev), whose \
                 permission could not be read; {again}"
            ),
        ),
    ] {
        assert_eq!(refusal.to_string(), expected);
        let waits = expected.contains("could not be read");
        assert_eq!(refusal.is_unknown(), waits, "{refusal}");
        let other = expected.replace("the ready label", "the label LABEL");
        assert_eq!(refusal.about("LABEL"), other);
    }
    for (has, word) in [
        (Permission::None, "no"),
        (Permission::Read, "read"),
        (Permission::Triage, "triage"),
        (Permission::Write, "write"),
        (Permission::Maintain, "maintain"),
        (Permission::Admin, "admin"),
    ] {
        let low = Distrust::TooLow { has, least: Permission::Admin };
        assert_eq!(low.to_string(), format!("who has {word} permission and needs admin"));
    }
    assert_eq!(Ground::Permission(Permission::Admin).to_string(), "admin permission");
    assert_eq!(Ground::Listed.to_string(), "listed by id");
}

#[test]
fn our_own_label_is_theirs_who_asked_for_it() {
    let afk = "3 afk[bot] on";
    check_asked(&[], &[afk], Err("a bot that is not listed"));
    check_asked(&["2 dev"], &[afk], Ok("dev at 2 by comment:0"));
    check_asked(&["2 dev"], &["1 owner on", "2 afk[bot] off", afk], Ok("dev at 2 by comment:0"));
    // A request that was made after the label was added is not its cause.
    check_asked(&["4 dev"], &[afk], Err("a bot that is not listed"));
    // The newest request that the label can stand for counts, with the asker's present permission.
    check_asked(&["1 owner", "2 dev"], &[afk], Ok("dev at 2 by comment:1"));
    check_asked(
        &["1 owner", "2 triager"],
        &[afk],
        Err("requested the ready label in a comment, who has triage"),
    );
    check_asked(&["2 dark"], &[afk], Err("could not be read"));
    check_asked(&["2 dev[bot]"], &[afk], Err("a bot that is not listed"));
    // A label that somebody else added is theirs, whatever was requested.
    check_asked(&["2 dev"], &["3 stranger on"], Err("stranger (id id-stranger) added"));
    check_asked(&["2 dev"], &["3 owner on"], Ok("owner at 3 by no request"));
}

#[test]
fn a_request_is_one_release_and_ends_with_its_label() {
    check_asked(&["2 dev"], &["3 afk[bot] on", "4 afk[bot] off", "9 afk[bot] on"], Err("a bot"));
    check_asked(&["2 dev"], &["3 afk[bot] on", "4 owner off", "9 afk[bot] on"], Err("a bot"));
    check_asked(&["2 dev"], &["3 owner off", "4 afk[bot] on"], Err("a bot"));
    check_asked(&["2 dev"], &["3 ? off", "4 afk[bot] on"], Err("a bot"));
    check_asked(&["2 dev"], &["3 afk[bot] on", "4 owner off"], Err("removed by owner"));
    let twice = ["3 afk[bot] on", "4 afk[bot] off", "6 afk[bot] on"];
    check_asked(&["2 dev", "5 owner"], &twice, Ok("owner at 5 by comment:1"));
}

#[test]
fn what_was_changed_after_the_comment_its_author_did_not_see() {
    check_asked(&["5 dev"], &["3 stranger body", "7 afk[bot] on"], Ok("dev at 5 by comment:0"));
    check_asked(&["5 dev"], &["5 stranger body", "7 afk[bot] on"], Err("the body was changed"));
    check_asked(&["5 dev"], &["6 stranger body", "7 afk[bot] on"], Err("the body was changed"));
    check_asked(&["5 dev"], &["7 afk[bot] on", "8 stranger title"], Err("the title was changed"));
    check_asked(&["5 dev"], &["6 owner body", "7 afk[bot] on"], Ok("dev at 5 by comment:0"));
}

#[test]
fn no_other_request_puts_the_label_on() {
    let events = [event("3 afk[bot] on")];
    let at = At::from_second(2).unwrap();
    for what in [Request::Retry, Request::Stop, Request::Unfreeze] {
        let asked = [PersonRequest { id: "a".into(), by: actor("dev"), at, what }];
        let behalf = OnBehalf { own: "id-afk[bot]", asked: &asked };
        let got = trust(&events, READY, &TrustPolicy::default(), behalf, &permission_of);
        assert!(matches!(got, Trust::Refused { .. }));
    }
}

proptest! {
    /// Checks against the rule stated in reverse: trusted means that somebody trusted labelled
    /// last and nobody else changed the text since.
    #[test]
    fn trusted_only_when_all_that_counts_is_trusted(
        steps in proptest::collection::vec((0_usize..4, 0_usize..5), 0..12)
    ) {
        let who = ["dev", "stranger", "dark", "?"];
        let what = ["on", "off", "title", "body", "other"];
        let lines: Vec<_> = steps.iter().enumerate()
            .map(|(i, (a, w))| format!("{} {} {}", i * 2, who[*a], what[*w])).collect();
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let last = steps.iter().rposition(|(_, w)| *w <= 1);
        let expected = last.is_some_and(|i| {
            steps[i] == (0, 0) && steps[i..].iter().all(|(a, w)| *a == 0 || *w == 4)
        });
        let got = ask(&lines, &TrustPolicy::default());
        prop_assert_eq!(matches!(got, Trust::Trusted { .. }), expected);
    }
}
