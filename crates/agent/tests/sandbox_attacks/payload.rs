//! The attacks themselves, carried out by this very binary in a box and without one.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::process::Command;

#[test]
#[ignore = "run by other tests, in a box"]
fn payload() {
    let words = std::env::var("ATTACK").unwrap();
    let words: Vec<&str> = words.split('\n').collect();
    match carry_out(&words) {
        Ok(()) => println!("verdict: worked"),
        Err(error) => {
            println!("verdict: {error}");
            panic!("{error}");
        }
    }
}

fn carry_out(words: &[&str]) -> io::Result<()> {
    match words {
        ["read", path] => {
            let mut bytes = Vec::new();
            File::open(path)?.read_to_end(&mut bytes)?;
            found(bytes.windows(6).any(|window| window == b"canary"))
        }
        ["open", path] => File::open(path).map(drop),
        ["open-write", path] => File::options().write(true).open(path).map(drop),
        ["write", path] => fs::write(path, "canary"),
        ["append", path] => {
            io::Write::write_all(&mut File::options().append(true).open(path)?, b"x")
        }
        ["rename", from, to] => fs::rename(from, to),
        ["list", path, name] => {
            found(fs::read_dir(path)?.any(|entry| entry.unwrap().file_name() == *name))
        }
        ["any-root", path] => {
            found(pids()?.iter().any(|pid| fs::read(format!("/proc/{pid}/root{path}")).is_ok()))
        }
        ["exists", path] => fs::metadata(path).map(drop),
        ["connect", path] => UnixStream::connect(path).map(drop),
        ["abstract", name] => {
            UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?).map(drop)
        }
        ["tcp", port] => TcpStream::connect(("127.0.0.1", port.parse().unwrap())).map(drop),
        // A harmless signal: only whether it may be sent matters.
        ["signal", pid] => Ok(rustix::process::kill_process(
            rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap(),
            rustix::process::Signal::CONT,
        )?),
        ["descriptors"] => found(fs::read_dir("/proc/self/fd")?.any(|entry| {
            let path = entry.unwrap().path();
            fs::read_link(&path)
                .is_ok_and(|to| to == Path::new("/") || to.ends_with("outside/secret"))
        })),
        ["setuid", program] => {
            let output = Command::new(program).arg("-u").output()?;
            found(output.stdout == b"0\n")
        }
        ["run", program, args @ ..] => {
            let output = Command::new(program).args(args).output()?;
            let complaint = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
            if output.status.success() { Ok(()) } else { Err(io::Error::other(complaint)) }
        }
        _ => panic!("no such attack: {words:?}"),
    }
}

fn found(yes: bool) -> io::Result<()> {
    if yes { Ok(()) } else { Err(io::Error::other("nothing there")) }
}

fn pids() -> io::Result<Vec<String>> {
    let names = fs::read_dir("/proc")?.map(|entry| Ok(entry?.file_name().into_string().unwrap()));
    let names: io::Result<Vec<String>> = names.collect();
    Ok(names?.into_iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).collect())
}
