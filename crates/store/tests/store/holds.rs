//! People are told once what holds dispatch, and doorbells that were given up are found.

use std::time::Duration;

use afk_core::hold::HoldCause;
use afk_engine::ports::{CheckSpan, Store as _};
use afk_store::{GivenUp, Store};

use crate::support::*;

fn looked(began: i64, answered: i64) -> CheckSpan {
    CheckSpan { began: at(began), answered: at(answered) }
}

fn claude() -> HoldCause {
    HoldCause::Agent("claude".parse().unwrap())
}

#[tokio::test]
async fn a_hold_rings_once_until_it_ends_and_ignores_older_checks() {
    let home = Home::new();
    let store = home.open().await;
    let rings = async || store.outbox_backlog().await.unwrap().0;
    assert!(store.hold(&claude(), looked(1, 2), &[bell(1, 0)]).await.unwrap());
    assert!(!store.hold(&claude(), looked(3, 4), &[bell(1, 1)]).await.unwrap(), "it is told");
    assert!(store.hold(&HoldCause::Machine, looked(1, 2), &[bell(1, 2)]).await.unwrap());
    assert_eq!(rings().await, 2, "one a cause");
    let both = [(claude(), at(2)), (HoldCause::Machine, at(2))];
    assert_eq!(store.holds().await.unwrap(), both.into());

    assert!(!store.unhold(&claude(), looked(2, 5)).await.unwrap(), "a look from before it");
    assert!(store.unhold(&claude(), looked(3, 5)).await.unwrap());
    assert!(!store.unhold(&claude(), looked(3, 5)).await.unwrap(), "it has cleared");
    assert_eq!(store.holds().await.unwrap(), [(HoldCause::Machine, at(2))].into());
    assert!(!store.hold(&claude(), looked(5, 6), &[bell(1, 3)]).await.unwrap(), "from before it");

    let store = home.open().await;
    assert!(store.hold(&claude(), looked(6, 7), &[bell(1, 4)]).await.unwrap(), "it broke anew");
    assert_eq!(store.holds().await.unwrap()[&claude()], at(7));
    assert_eq!(rings().await, 3);
}

/// Claims what is due at `second`, and delivers it (`well`) or gives it up.
async fn rung(store: &Store, second: i64, well: bool) {
    let ttl = Duration::from_secs(1);
    for send in store.claim("me", ttl, at(second), 10, &[].into()).await.unwrap() {
        if well {
            store.rung(&send.id, "me", at(second)).await.unwrap();
        } else {
            let why = format!("no answer at {second}");
            store.not_rung(&send.id, "me", &why, None, at(second)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_doorbell_that_was_given_up_is_found_until_it_rings_again() {
    let home = Home::new();
    let store = home.open().await;
    let one = async |name: &str, second: i64, well: bool| {
        let cause = HoldCause::Agent(format!("a{second}").parse().unwrap());
        let send = bell_of(name, 1, u32::try_from(second).unwrap());
        assert!(store.hold(&cause, looked(second, second), &[send]).await.unwrap());
        rung(&store, second, well).await;
    };
    one("ops", 1, true).await;
    assert_eq!(store.given_up(at(0)).await.unwrap(), []);
    one("ops", 2, false).await;
    one("chat", 3, false).await;
    one("ops", 4, false).await;
    let lost = |name: &str, count, first, last| GivenUp {
        name: Some(name.to_owned()),
        count,
        first: at(first),
        last: at(last),
        error: format!("no answer at {last}"),
    };
    let both = [lost("chat", 1, 3, 3), lost("ops", 2, 2, 4)];
    assert_eq!(store.given_up(at(0)).await.unwrap(), both);
    assert_eq!(store.given_up(at(3)).await.unwrap(), [lost("ops", 1, 4, 4)]);
    one("ops", 5, true).await;
    assert_eq!(store.given_up(at(0)).await.unwrap(), [lost("chat", 1, 3, 3)]);
}
