//! What goes in and out of a job under a real host, and what it may use. Real processes.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use afk_agent::host::{EndHow, HostError, JobState, KilledBy, Stdin};
use afk_agent::sandbox::{Bind, Requirement};
use common::{BOTH, Bench, all, ended, running, stderr, stdout};

#[tokio::test]
async fn both_outputs_whole_whatever_they_are() {
    for requirement in BOTH {
        let bench = Bench::new();
        // Five megabytes without a newline on both streams at once, then bytes that are no text;
        // neither stream may wait for the other.
        let script = r"
            { head -c 5000000 /dev/zero | tr '\0' x; } & { head -c 5000000 /dev/zero | tr '\0' '\377' >&2; }
            wait; printf 'a\000b\001\377\n' ; printf '\377\376\000' >&2";
        let (job, end) = bench.run("job", script, requirement).await;
        assert_eq!(end.how, EndHow::Exited(0));
        let (out, err) = (all(&job, "stdout").await, all(&job, "stderr").await);
        assert_eq!((out.len(), err.len()), (5_000_006, 5_000_003));
        assert!(
            out[..5_000_000].iter().all(|&byte| byte == b'x')
                && err[..5_000_000].iter().all(|&byte| byte == 0xff)
        );
        assert_eq!(
            (&out[5_000_000..], &err[5_000_000..]),
            (&b"a\x00b\x01\xff\n"[..], &b"\xff\xfe\x00"[..])
        );
    }
}

#[tokio::test]
async fn input_of_all_kinds() {
    for requirement in BOTH {
        let bench = Bench::new();
        let with = |name: &str, stdin| afk_agent::host::JobSpec {
            stdin,
            ..bench.shell(name, "cat; echo end", requirement)
        };
        let (job, _) = bench.run_spec(&with("empty", Stdin::Empty)).await;
        assert_eq!(stdout(&job).await, "end\n");
        // Larger than any pipe's buffer, and not valid text.
        let large = [b"\x00\xff".repeat(300_000), b"\n".to_vec()].concat();
        let (job, end) = bench.run_spec(&with("bytes", Stdin::Bytes(large.clone()))).await;
        assert_eq!(
            (end.how, all(&job, "stdout").await),
            (EndHow::Exited(0), [large, b"end\n".to_vec()].concat())
        );

        let job = bench.hosts.ensure(&with("pipe", Stdin::Pipe(b"one\n".to_vec()))).await.unwrap();
        assert_eq!(job.stdin_len().await.unwrap(), 4);
        assert_eq!(job.write(4, b"two\n").await.unwrap(), 8);
        assert_eq!(job.write(4, b"two\n").await.unwrap(), 8, "asked again after a crash");
        assert!(matches!(job.write(4, b"2wo\n").await, Err(HostError::Refused { .. })));
        assert!(matches!(job.write(99, b"x").await, Err(HostError::Refused { .. })));
        let large = vec![b'z'; 3_000_000];
        assert_eq!(job.write(8, &large).await.unwrap(), 3_000_008);
        job.close_stdin().await.unwrap();
        assert_eq!(ended(&job).await.how, EndHow::Exited(0));
        assert_eq!(all(&job, "stdout").await, [&b"one\ntwo\n"[..], &large, b"end\n"].concat());
        assert!(matches!(job.write(3_000_008, b"late").await, Err(HostError::Over { .. })));
    }
}

#[tokio::test]
async fn a_job_that_never_reads_holds_nobody_up() {
    let bench = Bench::new();
    let spec = afk_agent::host::JobSpec {
        stdin: Stdin::Pipe(Vec::new()),
        ..bench.shell("job", "sleep 1000", Requirement::Required)
    };
    let job = bench.hosts.ensure(&spec).await.unwrap();
    running(&job).await;
    job.write(0, &vec![b'x'; 4_000_000]).await.unwrap();
    job.renew().await.unwrap();
    job.kill(KilledBy::Halt).await.unwrap();
    assert_eq!(ended(&job).await.how, EndHow::Killed(KilledBy::Halt));
}

#[tokio::test]
async fn the_environment_is_the_specs_and_no_other() {
    for requirement in BOTH {
        let bench = Bench::new();
        let mut spec = bench.shell(
            "job",
            "env | cut -d= -f1 | grep -v -x -e PWD -e _ -e SHLVL -e OLDPWD | sort | tr '\\n' ' '",
            requirement,
        );
        spec.boxed.env.insert("MINE".to_owned(), "1".to_owned());
        let (job, end) = bench.run_spec(&spec).await;
        assert_eq!(end.how, EndHow::Exited(0));
        assert_eq!(stdout(&job).await, "AFK_JOB HOME LANG LOGNAME MINE PATH SHELL TMPDIR USER ");
    }
}

#[tokio::test]
async fn a_job_has_three_descriptors_and_makes_files_as_usual() {
    for requirement in BOTH {
        let bench = Bench::new();
        let script =
            "for n in /proc/self/fd/*; do echo ${n##*/}; done; touch made; stat -c %a made";
        let (job, _) = bench.run("job", script, requirement).await;
        // Descriptor 3 is the shell's own, from listing the folder; 644 is the mode of the file.
        let seen: Vec<String> = stdout(&job).await.lines().map(str::to_owned).collect();
        let extra: Vec<&String> = seen
            .iter()
            .filter(|line| !["0", "1", "2", "3", "644"].contains(&line.as_str()))
            .collect();
        assert!(extra.is_empty() && seen.last().is_some_and(|mode| mode == "644"), "{seen:?}");
        println!("{seen:?}");
    }
}

#[tokio::test]
async fn home_and_tmp_can_be_written_and_home_can_be_kept() {
    for (n, requirement) in BOTH.into_iter().enumerate() {
        let bench = Bench::new();
        let script = "echo x > $HOME/a && echo x > $TMPDIR/b && cat $HOME/a $TMPDIR/b && mktemp";
        let (job, end) = bench.run("scratch", script, requirement).await;
        assert_eq!(end.how, EndHow::Exited(0), "{}", stderr(&job).await);
        let home = bench.path().join(format!("home{n}"));
        fs::create_dir(&home).unwrap();
        for expected in ["1\n", "2\n"] {
            let mut spec = bench.shell(
                &format!("kept{}", expected.trim()),
                "echo x >> $HOME/log; wc -l < $HOME/log",
                requirement,
            );
            spec.boxed = spec.boxed.bind(&home, afk_agent::sandbox::Access::ReadWrite);
            spec.boxed.home = Some(home.clone());
            let (job, _) = bench.run_spec(&spec).await;
            assert_eq!(stdout(&job).await, expected);
        }
    }
}

#[tokio::test]
async fn binds_move_and_masks_hide_only_with_bubblewrap() {
    let bench = Bench::new();
    fs::write(bench.work().join("seen"), "seen\n").unwrap();
    fs::write(bench.work().join("hidden"), "hidden\n").unwrap();
    fs::create_dir(bench.work().join("folder")).unwrap();
    fs::write(bench.work().join("folder/hidden"), "hidden\n").unwrap();
    let mut spec = bench.shell(
        "masked",
        "cat seen hidden; ls folder; echo x > hidden; echo x > folder/x; echo done",
        Requirement::Required,
    );
    spec.boxed.masked =
        vec![bench.work().join("hidden"), bench.work().join("folder"), bench.work().join("absent")];
    let (job, _) = bench.run_spec(&spec).await;
    assert_eq!(stdout(&job).await, "seen\ndone\n", "{}", stderr(&job).await);
    assert_eq!(fs::read_to_string(bench.work().join("hidden")).unwrap(), "hidden\n");

    let mut spec = bench.shell("moved", "cat /elsewhere/seen", Requirement::Required);
    let access = afk_agent::sandbox::Access::ReadOnly;
    spec.boxed.binds.push(Bind { source: bench.work(), target: "/elsewhere".into(), access });
    let (job, _) = bench.run_spec(&spec).await;
    assert_eq!(stdout(&job).await, "seen\n");

    for (name, change) in [("masked", true), ("moved", false)] {
        let mut weak = bench.shell(&format!("{name}-weak"), "true", Requirement::LandlockOnly);
        if change {
            weak.boxed.masked = vec![bench.work().join("hidden")];
        } else {
            weak.boxed.binds.push(Bind {
                source: bench.work(),
                target: "/elsewhere".into(),
                access,
            });
        }
        let (_, end) = bench.run_spec(&weak).await;
        assert!(
            matches!(&end.how, EndHow::CouldNotStart(why) if why.contains("without bubblewrap")),
            "{end:?}"
        );
    }
}

#[tokio::test]
async fn secrets_reach_the_job_and_no_file_and_no_argument() {
    for requirement in BOTH {
        let bench = Bench::new();
        let mut spec = bench.shell(
            "job",
            "[ \"$TOKEN\" = canary-\"\"7261 ] && echo got > got; sleep 1000",
            requirement,
        );
        spec.secrets = BTreeMap::from([("TOKEN".to_owned(), "canary-7261".to_owned().into())]);
        assert!(!format!("{spec:?}").contains("canary-7261"));
        let job = bench.hosts.ensure(&spec).await.unwrap();
        bench.appears("got");
        assert!(cmdlines().iter().all(|line| !line.contains("canary-7261")));
        job.kill(KilledBy::Halt).await.unwrap();
        let mut files = 0;
        look_into(&job.dir(), &mut |path, bytes| {
            files += 1;
            assert!(!String::from_utf8_lossy(bytes).contains("canary-7261"), "{}", path.display());
            assert_eq!(
                fs::metadata(path).unwrap().permissions().mode() & 0o077,
                0,
                "{}",
                path.display()
            );
        });
        assert!(files > 5);
        assert_eq!(fs::metadata(job.dir()).unwrap().permissions().mode() & 0o777, 0o700);
    }
}

fn cmdlines() -> Vec<String> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .collect()
}

fn look_into(folder: &Path, see: &mut impl FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            look_into(&path, see);
        } else if path.is_file() {
            see(&path, &fs::read(&path).unwrap());
        }
    }
}

#[tokio::test]
async fn a_job_is_removed_with_what_it_left_unwritable() {
    let bench = Bench::new();
    let script = "mkdir -p $HOME/a/b && touch $HOME/a/b/c && chmod 555 $HOME/a/b $HOME/a";
    let (job, end) = bench.run("job", script, Requirement::LandlockOnly).await;
    assert_eq!(end.how, EndHow::Exited(0));
    job.clone().remove().await.unwrap();
    assert!(!job.dir().exists());
    let left: Vec<_> =
        fs::read_dir(bench.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["work"]);
}

#[tokio::test]
async fn a_strange_token_is_refused() {
    let bench = Bench::new();
    let job = bench
        .hosts
        .ensure(&bench.shell("job", "sleep 1000", Requirement::LandlockOnly))
        .await
        .unwrap();
    running(&job).await;
    let token = job.dir().join("token");
    let right = fs::read(&token).unwrap();
    fs::write(&token, "0".repeat(right.len())).unwrap();
    assert!(matches!(job.renew().await, Err(HostError::Refused { .. })));
    assert!(matches!(job.status().await.unwrap(), JobState::Running { .. }));
    fs::write(&token, right).unwrap();
    job.renew().await.unwrap();
    job.kill(KilledBy::Halt).await.unwrap();
}

#[test]
fn all_of_it_as_nobody() {
    common::all_again_as_nobody("all_of_it_as_nobody", &[]);
}
