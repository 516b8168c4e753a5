//! Ways out of a box with a proxy, tried one after the other by a process inside of it.
//!
//! For the tests of `agent` and `afk`. [`Outside`] is what there is to reach outside; [`all`] tries
//! every way and returns which ones worked. Without a box all of them work, apart from those that
//! need the proxy, and a test must show that first.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// What every listener outside answers.
const CAUGHT: &[u8] = b"caught";
/// Files larger than this are not searched for a secret.
const FILE: u64 = 8 << 20;

/// Listeners outside that a process in a box must not reach: TCP and UDP on loopback, a socket file
/// beside the box's folders, and an abstract socket.
pub struct Outside {
    v4: SocketAddr,
    v6: Option<SocketAddr>,
    udp: SocketAddr,
    path: PathBuf,
    name: String,
    caught: Arc<AtomicU64>,
}

impl Outside {
    /// Opens all listeners; the socket file is created in `folder`.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let caught = Arc::new(AtomicU64::new(0));
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let tcp6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).ok();
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let path = folder.join("outside.sock");
        let unix = UnixListener::bind(&path)?;
        let name = format!("afk-outside-{}", tcp.local_addr()?.port());
        let named = UnixListener::bind_addr(&UnixAddr::from_abstract_name(&name)?)?;
        let outside = Self {
            v4: tcp.local_addr()?,
            v6: tcp6.as_ref().and_then(|tcp| tcp.local_addr().ok()),
            udp: udp.local_addr()?,
            path,
            name,
            caught: Arc::clone(&caught),
        };
        let caught = |stream: &mut dyn io::Write, caught: &AtomicU64| {
            caught.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(CAUGHT);
        };
        for tcp in [Some(tcp), tcp6].into_iter().flatten() {
            let count = Arc::clone(&outside.caught);
            std::thread::spawn(move || {
                tcp.incoming().flatten().for_each(|mut one| caught(&mut one, &count));
            });
        }
        for unix in [unix, named] {
            let count = Arc::clone(&outside.caught);
            std::thread::spawn(move || {
                unix.incoming().flatten().for_each(|mut one| caught(&mut one, &count));
            });
        }
        let count = Arc::clone(&outside.caught);
        std::thread::spawn(move || {
            let mut bytes = [0; 64];
            while let Ok((_, from)) = udp.recv_from(&mut bytes) {
                count.fetch_add(1, Ordering::SeqCst);
                let _ = udp.send_to(CAUGHT, from);
            }
        });
        Ok(outside)
    }

    /// How often anything has arrived at any listener.
    pub fn caught(&self) -> u64 {
        self.caught.load(Ordering::SeqCst)
    }

    /// The argument for [`all`]: the addresses of all listeners, and the secret that must not be
    /// found. The secret is in two halves, so that the argument itself is not found.
    pub fn words(&self, secret: &str) -> String {
        let (one, two) = secret.split_at(secret.len() / 2);
        let v6 = self.v6.map(|at| at.to_string()).unwrap_or_default();
        let (v4, udp, path) = (self.v4, self.udp, self.path.display());
        format!("{v4}|{v6}|{udp}|{path}|{}|{one}|{two}", self.name)
    }
}

/// Tries every way out, and returns the result of each: `Ok` means that it worked. `words` are from
/// [`Outside::words`].
pub fn all(words: &str) -> Vec<(&'static str, io::Result<()>)> {
    let words: Vec<&str> = words.split('|').collect();
    let [v4, v6, udp, path, name, one, two] = words[..] else { panic!("{words:?}") };
    let port = v4.rsplit(':').next().unwrap_or_default();
    let port6 = v6.rsplit(':').next().unwrap_or_default();
    let mut all = vec![
        ("a direct address", tcp(v4)),
        ("a name server's port, or any other of UDP", datagram(udp)),
        ("a name of its own resolution", tcp(&format!("localhost:{port}"))),
        ("a socket file", unix(UnixStream::connect(path))),
        ("an abstract socket", abstract_socket(name)),
        ("a secret in the environment, a file or another process", find(&format!("{one}{two}"))),
    ];
    if !v6.is_empty() {
        all.push(("a direct address of IPv6", tcp(v6)));
    }
    if proxy().is_some() {
        all.extend([
            ("a host that is not listed", connect("evil.example:443")),
            ("loopback through the proxy", connect(&format!("127.0.0.1:{port}"))),
            ("IPv6 loopback through the proxy", connect(&format!("[::1]:{port6}"))),
            ("mapped loopback through the proxy", connect(&format!("[::ffff:127.0.0.1]:{port}"))),
            ("short loopback through the proxy", connect(&format!("127.1:{port}"))),
            ("a cloud's metadata through the proxy", connect("169.254.169.254:80")),
            ("a name that leads to loopback", connect("localhost:443")),
            ("plain loopback through the proxy", plain(&format!("http://{v4}/"))),
            ("the model's files", plain("/v1/files")),
            ("an account of its own at the model's API", plain("/v1/organizations")),
        ]);
    }
    all
}

/// The proxy's host and port, from the variable by which every program finds it.
fn proxy() -> Option<String> {
    let proxy = std::env::var("HTTPS_PROXY").ok()?;
    Some(proxy.trim_start_matches("http://").to_owned())
}

fn tcp(at: &str) -> io::Result<()> {
    let address = std::net::ToSocketAddrs::to_socket_addrs(at)?.next();
    let address = address.ok_or_else(|| io::Error::other("no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    answered(&mut stream)
}

fn datagram(at: &str) -> io::Result<()> {
    // Tries a name server's own port, too, at an address for documentation, which never answers.
    let told = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let _ = told.send_to(b"?", "192.0.2.53:53");
    told.set_read_timeout(Some(Duration::from_secs(1)))?;
    told.send_to(b"?", at)?;
    let mut bytes = [0; 64];
    let (len, _) = told.recv_from(&mut bytes)?;
    found(&bytes[..len] == CAUGHT)
}

fn unix(stream: io::Result<UnixStream>) -> io::Result<()> {
    let mut stream = stream?;
    stream.set_read_timeout(Some(PATIENCE))?;
    answered(&mut stream)
}

fn abstract_socket(name: &str) -> io::Result<()> {
    unix(UnixStream::connect_addr(&UnixAddr::from_abstract_name(name)?))
}

fn answered(stream: &mut dyn io::Read) -> io::Result<()> {
    let mut bytes = Vec::new();
    stream.take(CAUGHT.len() as u64).read_to_end(&mut bytes)?;
    found(bytes == CAUGHT)
}

/// Sends `CONNECT` to the proxy, which must refuse it.
fn connect(to: &str) -> io::Result<()> {
    asked(&format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n"))
}

fn plain(address: &str) -> io::Result<()> {
    asked(&format!(
        "GET {address} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer of-its-own\r\nConnection: close\r\n\r\n"
    ))
}

/// Sends a request to the proxy; `Ok` if the answer is anything but a refusal (403).
fn asked(request: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(proxy().unwrap_or_default())?;
    stream.set_read_timeout(Some(PATIENCE * 4))?;
    stream.write_all(request.as_bytes())?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    let head = String::from_utf8_lossy(&head).into_owned();
    if head.ends_with(" 403") { Err(io::Error::other(head)) } else { Ok(()) }
}

/// Looks for a secret in the environments and arguments of all processes, and in files.
fn find(secret: &str) -> io::Result<()> {
    let holds = |path: &Path| {
        let mut bytes = Vec::new();
        let opened = fs::File::open(path).and_then(|file| file.take(FILE).read_to_end(&mut bytes));
        opened.is_ok() && bytes.windows(secret.len()).any(|part| part == secret.as_bytes())
    };
    for process in fs::read_dir("/proc")?.flatten() {
        let held = ["environ", "cmdline"].map(|name| holds(&process.path().join(name)));
        if held.contains(&true) {
            return Ok(());
        }
    }
    let mut folders =
        vec!["/tmp".into(), "/run".into(), "/var/tmp".into(), std::env::current_dir()?];
    folders.extend(std::env::var_os("HOME").map(PathBuf::from));
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            seen += 1;
            if kind.is_dir() && seen < 20_000 {
                folders.push(entry.path());
            } else if kind.is_file() && holds(&entry.path()) {
                return Ok(());
            }
        }
    }
    found(false)
}

fn found(yes: bool) -> io::Result<()> {
    if yes { Ok(()) } else { Err(io::Error::other("nothing there")) }
}
