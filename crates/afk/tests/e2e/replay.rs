//! The replay of a real run's journal: as it is, and after somebody tampered with the store's file.

use std::path::Path;

use afk_core::digest::Digest;
use serde_json::Value;
use sqlx::{Connection as _, SqliteConnection};

use crate::world::{World, honest};

/// Opens the store's file as a tamperer would: without the triggers that protect the journal.
fn with_store<T>(file: &Path, act: impl AsyncFnOnce(&mut SqliteConnection) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let url = format!("sqlite://{}", file.display());
        let mut raw = SqliteConnection::connect(&url).await.unwrap();
        let drop = "DROP TRIGGER IF EXISTS journal_is_not_edited; \
                    DROP TRIGGER IF EXISTS journal_is_not_cut";
        sqlx::raw_sql(drop).execute(&mut raw).await.unwrap();
        let done = act(&mut raw).await;
        raw.close().await.unwrap();
        done
    })
}

type Row = (i64, String, i64, i64, String, String, String, String);

/// Changes the body of the first row that `change` accepts, and makes all hashes match again.
async fn forge(raw: &mut SqliteConnection, mut change: impl FnMut(&mut Value) -> bool) -> i64 {
    let all = "SELECT seq, run, run_seq, at, kind, body_json, prev_hash, hash FROM journal \
               ORDER BY run_seq";
    let rows: Vec<Row> = sqlx::query_as(all).fetch_all(&mut *raw).await.unwrap();
    let (mut prev, mut changed) = (String::new(), None);
    for (seq, run, run_seq, at, kind, body, ..) in rows {
        let mut value: Value = serde_json::from_str(&body).unwrap();
        let body = if changed.is_none() && change(&mut value) {
            changed = Some(run_seq);
            value.to_string()
        } else {
            body
        };
        let mut bytes = Vec::new();
        for part in [&prev, &run, &run_seq.to_string(), &at.to_string(), &kind, &body] {
            bytes.extend((part.len() as u64).to_be_bytes());
            bytes.extend(part.as_bytes());
        }
        let hash = Digest::of(&bytes).to_string();
        sqlx::query("UPDATE journal SET body_json = ?, prev_hash = ?, hash = ? WHERE seq = ?")
            .bind(&body)
            .bind(&prev)
            .bind(&hash)
            .bind(seq)
            .execute(&mut *raw)
            .await
            .unwrap();
        sqlx::query("UPDATE runs SET journal_hash = ? WHERE id = ?")
            .bind(&hash)
            .bind(&run)
            .execute(&mut *raw)
            .await
            .unwrap();
        prev = hash;
    }
    changed.expect("a row to change")
}

#[test]
fn a_real_run_is_decided_again_and_an_edited_row_is_named() {
    let world = World::new();
    let ended = world.run_refused_once();
    let replayed = world.json(&["replay", &ended.issue]);
    assert_eq!(replayed["chain"]["chain"], "whole");
    assert_eq!(replayed["replayed"]["differences"], serde_json::json!([]), "{replayed:#}");
    assert!(replayed["replayed"]["decisions"].as_u64().unwrap() > 15, "{replayed:#}");
    let shown = world.afk(&["replay", &ended.issue]).ended(0).out;
    assert!(shown.contains("none differs"), "{shown}");

    // With its hashes made anew the row is intact, but the replay does not come to what it says.
    let store = world.path("data/afk.db");
    let row = with_store(&store, async |raw| {
        forge(raw, |body| {
            let spent = body.pointer_mut("/context/situation/spent");
            spent.map(|spent| *spent = Value::Bool(true)).is_some()
        })
        .await
    });
    let said = world.afk(&["replay", &ended.issue]).ended(1).out;
    assert!(said.contains("the journal is intact"), "{said}");
    assert!(said.contains(&format!("row {row}: the situation differs: spent was true")), "{said}");
    // The kept bundle still has the original row.
    let kept = format!("the kept bundle differs: row {row} is another one");
    assert!(said.contains(&kept), "{said}");

    // Without new hashes the chain is broken at the edited row.
    with_store(&store, async |raw| {
        let edit = "UPDATE journal SET body_json = replace(body_json, '\"do\":\"land\"', \
                    '\"do\":\"judge\"')";
        let done = sqlx::query(edit).execute(raw).await.unwrap();
        assert!(done.rows_affected() > 0);
    });
    let said = world.afk(&["replay", &ended.issue]).ended(1).out;
    assert!(said.contains("✗ the journal's row"), "{said}");
    assert!(said.contains("it was edited"), "{said}");
}

/// Deletes the last rows of a run's journal, and makes the run's own row name the new end.
async fn cut_short(raw: &mut SqliteConnection, rows: i64) {
    let cut = "DELETE FROM journal WHERE run_seq > (SELECT max(run_seq) FROM journal) - ?";
    assert!(sqlx::query(cut).bind(rows).execute(&mut *raw).await.unwrap().rows_affected() > 0);
    let end = "UPDATE runs SET version = (SELECT max(run_seq) FROM journal), journal_hash = \
               (SELECT hash FROM journal ORDER BY run_seq DESC LIMIT 1)";
    sqlx::query(end).execute(raw).await.unwrap();
}

#[test]
fn a_journal_that_was_cut_together_with_its_end_is_told_by_the_kept_bundle() {
    let world = World::new();
    world.script(&[&honest()]);
    let ended = world.run(0);
    let store = world.path("data/afk.db");
    let rows = world.json(&["replay", &ended.issue])["replayed"]["rows"].as_i64().unwrap();
    with_store(&store, async |raw| cut_short(raw, 3).await);
    let told = format!("the store's journal ends after row {}", rows - 3);
    let said = world.afk(&["replay", &ended.issue]).ended(1).out;
    assert!(said.contains("✓ the journal is intact") && said.contains(&told), "{said}");
    let said = world.afk(&["evidence", "verify", &ended.issue]).ended(1).out;
    assert!(said.contains(&told), "{said}");
}

#[test]
fn a_torn_journal_and_a_torn_store_are_named() {
    let world = World::new();
    world.script(&[&honest()]);
    let ended = world.run(0);
    let store = world.path("data/afk.db");
    let whole = world.json(&["replay", &ended.issue]);
    let rows = whole["replayed"]["rows"].as_u64().unwrap();
    assert!(rows > 6, "{whole:#}");
    let cut = |place: u64| {
        with_store(&store, async |raw| {
            let cut =
                sqlx::query("DELETE FROM journal WHERE run_seq = ?").bind(place.cast_signed());
            assert_eq!(cut.execute(raw).await.unwrap().rows_affected(), 1, "row {place}");
        });
    };
    // The last, then one in the middle, then the first; the first that is gone is named.
    for place in [rows, rows / 2, 1] {
        cut(place);
        let said = world.json_of(1, &["replay", &ended.issue]);
        let chain = &said["chain"];
        assert_eq!((&chain["chain"], &chain["row"]), (&"broken".into(), &place.into()), "{said:#}");
        assert!(chain["why"].as_str().unwrap().contains("it is missing"), "{said:#}");
        assert_ne!(said["replayed"]["differences"], serde_json::json!([]), "{said:#}");
    }

    // Only half of the store's file is left.
    with_store(&store, async |raw| {
        sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)").execute(raw).await.unwrap();
    });
    let bytes = std::fs::read(&store).unwrap();
    std::fs::write(&store, &bytes[..bytes.len() / 2]).unwrap();
    let said = world.afk(&["replay", &ended.issue]).ended(1);
    said.complains(&[store.to_str().unwrap(), "damaged"]);
}
