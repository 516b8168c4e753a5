//! The server: puts together everything that the settings name, and runs until it is told to stop.
//!
//! Called by the command line, by the demo and by tests. It starts without a network and needs
//! nothing but its own files; whatever else is missing is only a warning.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use afk_agent::sessions::{Durability, LogLimits, LogStore, StoreLimits};
use afk_http::{Bound, Limits, TokenHash};
use anyhow::Context as _;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use tokio_util::sync::CancellationToken;

use crate::audit::AuditLog;
use crate::conversation::{Conversations, Parts};
use crate::http::auth::Access;
use crate::http::routes::{AppState, routes};
use crate::http::stream::Streams;
use crate::identity::{self, Identity, IdentityPlan, Target};
use crate::power::client::{Hypervisor, PowerClient};
use crate::settings::{LONGEST_SILENCE_SECONDS, Settings};
use crate::supervisor::Supervisor;
use crate::turn::command::{AgentProgram, environment};
use crate::turn::run::TurnRunner;

/// The largest log of one conversation, in bytes.
const LOG_BYTES: u64 = 16 << 20;
/// How much of the log is reserved for the last events of a turn, in bytes: at most two of the
/// largest size and a small one.
const LAST_EVENTS_BYTES: u64 = 2 << 20;
/// How large all conversations together may be before old ones are removed, in bytes.
const STORE_BYTES: u64 = 512 << 20;
/// How many connections may be open at once in addition to the streams; further ones wait.
const CONNECTIONS: usize = 128;
/// How long a client may take to send its headers.
const HEADERS: Duration = Duration::from_secs(10);
/// How long a stop waits for requests under way.
const DRAIN: Duration = Duration::from_secs(3);

/// What the server takes from outside besides its settings.
pub struct Surroundings {
    /// This program's own file, which is started again as the supervisor of each process.
    pub program: PathBuf,
    /// The bearer token that signs in, if there is one.
    pub token: Option<SecretString>,
    /// The server's environment, some of which is credentials. The agent gets a selection of it.
    pub env: Vec<(String, SecretString)>,
    /// Leading arguments of the agent's program; empty for the CLI itself.
    pub agent_args: Vec<OsString>,
}

/// A server that listens and is ready to serve.
pub struct Server {
    bound: Bound,
    reached: AppState,
    max_streams: usize,
    shutdown: CancellationToken,
    /// Held because the ssh-agent ends when it is dropped.
    _identity: Identity,
}

impl Server {
    /// Makes everything ready and binds the address. Cancelling `shutdown` stops the server.
    pub async fn start(
        settings: &Settings,
        surroundings: Surroundings,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        let audit_path = settings.audit_path();
        if let Some(folder) = audit_path.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        }
        // First, because the lock on the audit log tells whether another server is at work here.
        let audit = AuditLog::open(&audit_path, settings.audit_file_bytes, Timestamp::now)?;
        let mark = format!("breakglass:{}", audit_path.display());
        let supervisor = Supervisor::new(surroundings.program, &mark);
        let left = supervisor.sweep();
        if left > 0 {
            tracing::warn!(left, "ended processes that an earlier server left behind");
        }
        let identity = plan(settings, &surroundings.env, mark);
        let identity = identity::prepare(&identity, &supervisor).await?;
        for warning in warnings(settings, surroundings.token.is_some()) {
            tracing::warn!("{warning}");
        }
        for warning in &identity.warnings {
            tracing::error!("{warning}");
        }
        let limits = StoreLimits {
            logs: settings.max_sessions.into(),
            bytes: STORE_BYTES,
            log: LogLimits {
                log_bytes: LOG_BYTES,
                reserve_bytes: LAST_EVENTS_BYTES,
                ..LogLimits::default()
            },
        };
        let store = LogStore::at(&settings.sessions_dir, limits, Durability::Process).await?;
        let mut argv = vec![settings.claude.clone().into_os_string()];
        argv.extend(surroundings.agent_args);
        let program = AgentProgram {
            argv,
            agent: settings.agent.clone(),
            model: settings.model.clone(),
            env: environment(surroundings.env, identity.env.clone()),
        };
        let conversations = Conversations::new(Parts {
            store,
            runner: TurnRunner {
                supervisor: supervisor.clone(),
                program,
                bound: Duration::from_secs(settings.turn_timeout_seconds),
            },
            turns: settings.max_concurrent_turns.into(),
            audit: audit.clone(),
            shutdown: shutdown.clone(),
        });
        let host = Some(settings.pve_host.clone()).filter(|host| !host.is_empty());
        let hypervisor = host.map(|host| Hypervisor {
            host,
            user: settings.pve_user.clone(),
            port: settings.pve_port,
            env: identity.env.clone(),
            bound: Duration::from_secs(settings.pve_verb_timeout_seconds),
        });
        let access = Access {
            token: surroundings.token.map(|token| TokenHash::of(token.expose_secret())),
            user_header: settings.user_header.to_ascii_lowercase(),
            proxies: settings.proxies.clone(),
        };
        let max_streams = settings.max_streams.into();
        let bound = Bound::bind(settings.listen).await?;
        tracing::info!(
            address = %bound.address(),
            audit = audit.last_hash(),
            "breakglass listens"
        );
        let reached = AppState {
            conversations,
            streams: Streams::new(max_streams, settings.sse_keepalive(), shutdown.clone()),
            power: PowerClient::new(hypervisor, supervisor, shutdown.clone()),
            audit,
            access: Arc::new(access),
            pace: Arc::new(Mutex::default()),
        };
        Ok(Self { bound, reached, max_streams, shutdown, _identity: identity })
    }

    /// Returns the address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.bound.address()
    }

    /// Serves until it is told to stop, and ends every turn and every wait for a verb.
    pub async fn serve(self) {
        let limits = Limits {
            connections: self.max_streams + CONNECTIONS,
            headers: HEADERS,
            connection: None,
            drain: DRAIN,
        };
        let conversations = self.reached.conversations.clone();
        let power = self.reached.power.clone();
        let routes = routes(self.reached);
        tokio::join!(self.bound.serve(&routes, limits, &self.shutdown), async {
            self.shutdown.cancelled().await;
            tokio::join!(conversations.ended(), power.ended());
        });
    }
}

fn plan(settings: &Settings, env: &[(String, SecretString)], mark: String) -> IdentityPlan {
    let variable = |name: &str| {
        let found = env.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.expose_secret().to_owned())
    };
    let usual = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let target = |alias, host: &String, user: &String, port| {
        let target = Target { alias, host: host.clone(), user: user.clone(), port };
        Some(target).filter(|target| !target.host.is_empty())
    };
    let devvm = target("devvm", &settings.devvm_host, &settings.devvm_user, settings.devvm_port);
    let pve = target("pve", &settings.pve_host, &settings.pve_user, settings.pve_port);
    // Absolute, because it becomes part of the agent's `PATH`, and the agent has another folder.
    let sessions = std::path::absolute(&settings.sessions_dir).ok();
    let beside = sessions.and_then(|folder| folder.parent().map(Path::to_owned));
    IdentityPlan {
        key: settings.key_path.clone(),
        targets: devvm.into_iter().chain(pve).collect(),
        runtime: settings.runtime_dir.clone(),
        elsewhere: std::iter::once(std::env::temp_dir()).chain(beside).collect(),
        mark,
        path: variable("PATH").unwrap_or_else(|| usual.to_owned()),
        home: variable("HOME").unwrap_or_else(|| "/".to_owned()),
    }
}

/// Returns warnings about what the settings lack, or have that will hurt in an incident.
fn warnings(settings: &Settings, has_token: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if !has_token && settings.proxies.is_empty() {
        warnings.push(
            "nobody can sign in: set API_BEARER_TOKEN, or BREAKGLASS_PROXIES to the networks of \
             the edge proxy"
                .to_owned(),
        );
    }
    let silence = settings.sse_keepalive_seconds;
    if silence > LONGEST_SILENCE_SECONDS {
        warnings.push(format!(
            "BREAKGLASS_SSE_KEEPALIVE_SECONDS is {silence}, but {LONGEST_SILENCE_SECONDS} are used: \
             the page takes longer silence for a dead connection"
        ));
    }
    for (name, host) in [
        ("BREAKGLASS_DEVVM_HOST", &settings.devvm_host),
        ("BREAKGLASS_PVE_HOST", &settings.pve_host),
    ] {
        if host.is_empty() {
            warnings.push(format!("{name} is not set"));
        } else if host.parse::<IpAddr>().is_err() {
            warnings.push(format!(
                "{name} is a name: use an IP address, because names may not resolve in an incident"
            ));
        }
    }
    warnings
}
