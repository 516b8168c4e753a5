//! `breakglass demo`: the whole console on one's own computer, with nothing to set up or at risk.
//!
//! Two throwaway SSH servers on loopback are the machine and its hypervisor ([`machines`]), the
//! agent is scripted ([`agent`]), and the VM is one that hangs until it is power-cycled. The server
//! is the real one. Everything is in a temporary folder, which is removed at the end.

use std::io::Write as _;
use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Args;
use tokio_util::sync::CancellationToken;

use crate::audit;
use crate::cli::{environment, runtime, start_log, stop_on_signals};
use crate::server::{Server, Surroundings};
use crate::settings::Settings;
use crate::supervisor::Supervisor;

pub mod agent;
pub mod machines;

use machines::Machines;

/// Settings of the demo.
#[derive(Args, Clone, Debug)]
pub struct DemoSettings {
    /// The address and port to listen on; port 0 takes a free one. An address other than loopback
    /// shows the demo to the network.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    pub listen: SocketAddr,
}

/// Runs the demo until SIGINT or SIGTERM.
pub fn run(settings: &DemoSettings) -> anyhow::Result<()> {
    start_log("warn");
    runtime()?.block_on(async {
        let stop = CancellationToken::new();
        stop_on_signals(&stop)?;
        demonstrate(settings.listen, stop).await
    })
}

async fn demonstrate(listen: SocketAddr, stop: CancellationToken) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let folder = tempfile::Builder::new().prefix("breakglass-demo-").tempdir()?;
    let supervisor = Supervisor::new(&program, format!("breakglass:{}", folder.path().display()));
    let machines = Machines::start(&folder.path().join("machines"), &supervisor).await?;
    machines.hang()?;
    let settings = server_settings(listen, folder.path(), &machines, &program)?;
    let token = uuid::Uuid::new_v4().simple().to_string();
    let surroundings = Surroundings {
        program,
        token: Some(token.clone().into()),
        env: environment(),
        agent_args: vec![agent::SUBCOMMAND.into()],
    };
    let server = Server::start(&settings, surroundings, stop).await?;
    // The key is in the ssh-agent now.
    std::fs::remove_file(machines.key())?;
    greet(server.address(), &token)?;
    server.serve().await;
    let found = audit::verify(&settings.audit_path(), None)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nstopped; the audit log had {} records and was whole", found.records)?;
    Ok(())
}

fn greet(address: SocketAddr, token: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    write!(
        out,
        "A demonstration: the machine, its hypervisor and the agent are stand-ins on this computer.\n\
         The VM hangs. Ask the agent what is wrong, or open the power panel and cycle it.\n\n  \
         http://{address}/#token={token}\n\n\
         The token is good until this program ends. Stop it with Ctrl-C.\n"
    )?;
    out.flush()?;
    Ok(())
}

/// Returns the settings of a server for these machines, with the scripted agent.
fn server_settings(
    listen: SocketAddr,
    folder: &std::path::Path,
    machines: &Machines,
    program: &std::path::Path,
) -> anyhow::Result<Settings> {
    let user = machines.user().to_owned();
    // Not from the environment: a demo must never reach a real machine by accident.
    let mut settings = Settings::usual()?;
    settings.listen = listen;
    settings.sessions_dir = folder.join("sessions");
    settings.key_path = Some(machines.key());
    "127.0.0.1".clone_into(&mut settings.devvm_host);
    settings.devvm_user.clone_from(&user);
    settings.devvm_port = machines.devvm_port();
    "127.0.0.1".clone_into(&mut settings.pve_host);
    settings.pve_user = user;
    settings.pve_port = machines.pve_port();
    program.clone_into(&mut settings.claude);
    Ok(settings)
}
