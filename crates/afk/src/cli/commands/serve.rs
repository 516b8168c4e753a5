//! `serve`: the daemon in the foreground, for systemd, containers and terminals.
//!
//! Its output is its log. SIGTERM and Ctrl-C stop it cleanly, a second one at once; SIGHUP reloads
//! the configuration.

use std::sync::Arc;

use afk_api::{ApiState, LIMITS, routes};
use afk_app::App;
use afk_app::Error;
use afk_app::serve::serve as daemon;
use afk_app::settings::FileSettings;
use afk_app::settings::RESTS;
use afk_engine::ports::Settings as _;
use afk_http::Bound;
use tokio_util::sync::CancellationToken;

use super::Context;
use super::gateway;
use super::work::disarmed;
use crate::cli::exit::{Answer, Exit};
use crate::cli::signals::Signals;
use crate::cli::sources::sources;
use crate::descriptors;
use crate::memory::return_idle_memory;
use crate::privacy::hide_from_agents;

pub(super) async fn serve(context: &Context<'_>) -> Answer {
    hide_from_agents();
    // From here on no signal ends the process directly.
    let mut signals = Signals::new()?;
    return_idle_memory();
    let files = descriptors::raise();
    let app = App::open(sources(context.config())).await?;
    let shutdown = CancellationToken::new();
    // Bound before the lease is taken: an address in use fails the start.
    let server = match app.config.own.http.listen {
        Some(address) => {
            let failed = |error| Error::failed(format!("http.listen: {error}"));
            Some(Bound::bind(address).await.map_err(failed)?)
        }
        None => None,
    };
    let gateway =
        if app.config.gateway.enabled { Some(gateway::open(&app.config).await?) } else { None };
    let apart = match (&gateway, app.config.gateway.listen) {
        (Some(_), Some(address)) => {
            let failed = |error| Error::failed(format!("gateway.listen: {error}"));
            Some(Bound::bind(address).await.map_err(failed)?)
        }
        (Some(_), None) if server.is_none() => {
            return Err(Error::invalid(
                "the gateway is enabled and listens nowhere: set http.listen or gateway.listen",
            ));
        }
        (Some(_) | None, _) => None,
    };
    let check = gateway::token_check(&app.config)?;
    let work = async {
        let stop = shutdown.child_token();
        let driven = async {
            let done = daemon(&app, say_start(&app, server.as_ref()), &shutdown).await;
            // However the loop ended, the gateway's callers get an error before they are cut off.
            if let Some(gateway) = &gateway {
                gateway.stop();
            }
            stop.cancel();
            done
        };
        let http = async {
            if let Some(server) = &server {
                let (engine, forges) = (app.engine.clone(), app.forges.clone());
                let joins = gateway.as_ref().filter(|_| apart.is_none());
                if joins.is_some() {
                    gateway::say(server);
                }
                let limits = if joins.is_some() { gateway::LIMITS } else { LIMITS };
                let limits = descriptors::within(limits, files);
                let state = ApiState {
                    engine,
                    forges,
                    metrics_access: gateway::metrics_access(check.clone(), joins),
                };
                server
                    .serve(&gateway::with_gateway_routes(routes(state), joins), limits, &stop)
                    .await;
            }
        };
        let beside = async {
            if let (Some(server), Some(gateway)) = (&apart, &gateway) {
                gateway::say(server);
                let limits = descriptors::within(gateway::LIMITS, files);
                server.serve(&gateway.router(), limits, &stop).await;
            }
        };
        let done = tokio::join!(driven, http, beside).0;
        if let Some(gateway) = &gateway {
            gateway.close().await;
        }
        done
    };
    tokio::pin!(work);
    let mut told = None;
    let done = loop {
        let exit = tokio::select! {
            done = &mut work => break done,
            _ = signals.term.recv() => Exit::Done,
            _ = signals.keyboard.recv() => Exit::Interrupted,
            _ = signals.hup.recv() => {
                reload(app.settings.clone());
                continue;
            }
        };
        if told.is_some() {
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
        told = Some(exit);
        if let Some(gateway) = &gateway {
            gateway.stop();
        }
        tracing::info!("stopping: agents go on under their hosts, and the next start finds them");
        shutdown.cancel();
    };
    app.store.close().await;
    done?;
    tracing::info!("stopped");
    Ok(told.unwrap_or(Exit::Done))
}

/// Logs what is served, where webhooks are received, and whether the loop is armed.
async fn say_start(app: &App, server: Option<&Bound>) {
    let config = app.config_path.as_ref().map(|path| path.display().to_string());
    let switches = app.engine.ports().store.switches().await;
    // A switch that cannot be read counts as on.
    let thrown = |on: fn(&afk_engine::ports::Switches) -> bool| switches.as_ref().map_or(true, on);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        pid = std::process::id(),
        config = config.as_deref().unwrap_or("none"),
        data_dir = %app.data_dir.display(),
        repos = app.config.policy.allowlist.len(),
        kill_switch = app.config.policy.kill_switch,
        paused = thrown(|now| now.pause.is_some()),
        halted = thrown(|now| now.halt.is_some()),
        frozen = switches.as_ref().map_or(0, |now| now.frozen.len()),
        sandbox = %app.capabilities,
        "serving"
    );
    if let Some(server) = server {
        for forge in app.forges.hearing() {
            let url = format!("http://{}/webhooks/{forge}", server.address());
            tracing::info!(%forge, url, "listening for webhooks");
        }
    }
    if let Some(how) = disarmed(&app.config) {
        tracing::info!(how, "disarmed: nothing new is dispatched");
    }
}

/// Reloads the configuration. The settings log the result.
fn reload(settings: Arc<FileSettings>) {
    settings.ask_again();
    tokio::spawn(async move {
        // The first read starts the rest, the second comes when the files have rested long enough.
        settings.current();
        tokio::time::sleep(RESTS).await;
        settings.current();
    });
}
