//! What `doctor` checks of the forge, with each fault planted: the fault is named, with how to fix
//! it.

use afk_fakes::forgejo::{Hook, Kind, Protection};
use afk_remote::{Needs, RemoteFinding, Severity};

use crate::support::{OnForgejo, READY, TOKEN, repo, world};

const HOOK: &str = "https://afk.example/webhooks/home";

fn needs(make: bool) -> Needs {
    Needs {
        labels: Some(vec![(READY.to_owned(), "an agent may work on it")]),
        pushes: true,
        opens_pulls: false,
        webhook: Some(HOOK.to_owned()),
        make,
    }
}

/// A repo in which nothing is missing.
fn sound(home: &OnForgejo) {
    home.sim.with(|world| world.somebody_lands(&repo("o/r"), &[("README.md", "hello")]));
    home.fake.add_label(&repo("o/r"), READY);
    let events = vec!["issues".to_owned(), "push".to_owned()];
    let (url, content_type) = (HOOK.to_owned(), "json".to_owned());
    let hook = Hook { url, secret: Some("s".to_owned()), events, active: true, content_type };
    home.fake.add_hook(&repo("o/r"), hook);
}

async fn examined(home: &OnForgejo, needs: &Needs) -> Vec<RemoteFinding> {
    home.forges.examine(&repo("o/r"), &"home".parse().unwrap(), needs).await.unwrap()
}

/// Checks that exactly one thing is wrong, and what is said of it.
async fn check(home: &OnForgejo, about: &str, says: &str, remedy: &str) {
    let found = examined(home, &needs(false)).await;
    let wrong: Vec<_> = found.iter().filter(|one| one.severity != Severity::Fine).collect();
    let [wrong] = wrong.as_slice() else { panic!("{found:#?}") };
    let how = wrong.remedy.clone().unwrap_or_default();
    assert!(
        wrong.about == about && wrong.says.contains(says) && how.contains(remedy),
        "{wrong:#?}"
    );
    assert!(!wrong.says.contains(TOKEN), "{wrong:?}");
}

#[tokio::test]
async fn a_sound_repo_is_fine() {
    for kind in [Kind::Forgejo, Kind::Gitea] {
        let home = OnForgejo::new(kind);
        sound(&home);
        let found = examined(&home, &needs(false)).await;
        assert!(found.iter().all(|one| one.severity == Severity::Fine), "{found:#?}");
        home.done("doctor_sound");
    }
}

#[tokio::test]
async fn each_planted_fault_is_named_with_its_cure() {
    let home = || {
        let home = OnForgejo::new(Kind::Forgejo);
        sound(&home);
        home
    };
    let here = home();
    here.fake.rotate("another");
    check(&here, "credential", "expired", "make a new token").await;
    let here = home();
    here.fake.hide(&repo("o/r"), true);
    check(&here, "credential", "404", "check the repo's name").await;
    let here = home();
    here.fake.rename(&repo("o/r"), &repo("o/new"));
    check(&here, "credential", "has moved", "check the forge's url").await;
    let here = home();
    here.fake.archive(&repo("o/r"));
    check(&here, "credential", "archived", "unarchive").await;
    let here = home();
    here.fake.delete_label(&repo("o/r"), READY);
    check(&here, "labels", "no label ready-for-agent", "doctor --fix").await;
    let here = home();
    let protection = Protection { may_push: false, ..Protection::default() };
    here.fake.protect(&repo("o/r"), protection);
    check(&here, "branch", "refuses our pushes", "pull-request").await;
    here.done("doctor_planted");
}

#[tokio::test]
async fn who_is_no_administrator_is_told_what_that_gives_up() {
    let home = OnForgejo::of(world(), Kind::Forgejo, false);
    sound(&home);
    let found = examined(&home, &needs(false)).await;
    let of = |about: &str| found.iter().find(|one| one.about == about).unwrap();
    assert_eq!(of("permissions").severity, Severity::Failure);
    assert!(of("permissions").remedy.as_ref().unwrap().contains("trust.allow_ids"));
    assert_eq!(of("webhook").severity, Severity::Warning);
    home.done("doctor_no_administrator");
}

#[tokio::test]
async fn what_is_missing_is_made() {
    let home = OnForgejo::hooked(Kind::Forgejo, "s");
    home.sim.with(|world| world.somebody_lands(&repo("o/r"), &[("README.md", "hello")]));
    let found = examined(&home, &needs(true)).await;
    assert!(found.iter().all(|one| one.severity == Severity::Fine), "{found:#?}");
    assert_eq!(home.fake.labels(&repo("o/r")), [READY]);
    let hooks = home.fake.hooks(&repo("o/r"));
    let [hook] = hooks.as_slice() else { panic!("{hooks:?}") };
    assert_eq!((hook.url.as_str(), hook.secret.as_deref(), hook.active), (HOOK, Some("s"), true));
    // The second time nothing more is made.
    examined(&home, &needs(true)).await;
    assert_eq!((home.fake.hooks(&repo("o/r")).len(), home.fake.labels(&repo("o/r")).len()), (1, 1));
    // A webhook that the server then sends is believed, and wakes the repo.
    home.released("o/r#1");
    let (headers, body) = home.fake.hook("issue_label", &repo("o/r"));
    let header = |asked: &str| {
        let found = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(asked));
        found.map(|(_, value)| value.clone())
    };
    let heard = home.forges.receive_hook(&"home".parse().unwrap(), &header, &body).await;
    assert_eq!(heard, Ok(afk_remote::HookOutcome::Woke(repo("o/r"))));
    home.done("doctor_fix");
}
