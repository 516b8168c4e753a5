//! `presence`: shows where people and runs are at work, and claims and releases for people.

use afk_app::presence::{claim, list, release};
use serde_json::json;

use super::Context;
use crate::cli::args::PresenceCommand;
use crate::cli::exit::{Answer, Exit};
use crate::cli::sources::now;
use crate::cli::words::{ago, between, columns, duration, line};

pub(super) async fn run(context: &Context<'_>, command: Option<PresenceCommand>) -> Answer {
    let operator = context.operator().await?;
    let (store, holder, now) = (&operator.store, operator.person.id.as_str(), now());
    match command.unwrap_or(PresenceCommand::List) {
        PresenceCommand::List => {
            let all = list(store, now).await?;
            context.out.result(&json!({ "presence": all }), |_| {
                if all.is_empty() {
                    return "nobody is present".to_owned();
                }
                let rows: Vec<_> = all
                    .iter()
                    .map(|one| {
                        let left = one.until.map(|until| duration(between(now, until)));
                        [
                            line(&one.resource, 60),
                            line(&one.holder, 40),
                            ago(one.since, now),
                            left.unwrap_or_else(|| "while it runs".to_owned()),
                            line(&one.purpose, 80),
                        ]
                    })
                    .collect();
                let heading = ["WHERE", "WHO", "SINCE", "STILL", "WHAT FOR"];
                columns(Some(heading), &rows).join("\n")
            })?;
        }
        PresenceCommand::Claim { resource, purpose, ttl } => {
            let made = claim(store, &resource, holder, &purpose, ttl, now).await?;
            context.out.result(&made, |_| {
                let left = made.until.map(|until| duration(between(now, until)));
                let (resource, left) = (line(&made.resource, 200), left.unwrap_or_default());
                format!("you claim {resource} for {left}; this holds up nothing")
            })?;
        }
        PresenceCommand::Release { resource } => {
            let ended = release(store, &resource, holder, now).await?;
            let document = json!({ "resource": resource, "holder": holder, "released": ended });
            context.out.result(&document, |_| {
                let word = if ended { "you no longer claim" } else { "you did not claim" };
                format!("{word} {}", line(&resource, 200))
            })?;
        }
    }
    operator.store.close().await;
    Ok(Exit::Done)
}
