//! Checks what is shipped: the manifests against Kubernetes' own types and against the program's
//! settings, the image's recipe against both, and what the program is built from.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use afk_breakglass::settings::{Settings, TOKEN_VARIABLE};
use clap::{CommandFactory as _, Parser};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, Namespace, PodSpec, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use serde::Deserialize as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The command line of `serve`.
#[derive(Parser)]
struct Serve {
    #[command(flatten)]
    settings: Settings,
}

fn packaging(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/breakglass");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// Returns the manifests by their kinds.
fn manifests(text: &str) -> BTreeMap<String, Value> {
    let documents = serde_yaml_ng::Deserializer::from_str(text);
    let read = documents.map(|document| Value::deserialize(document).unwrap());
    read.map(|value| (value["kind"].as_str().unwrap().to_owned(), value)).collect()
}

/// Reads a manifest as the type that it claims to be. A field that this type does not have is a
/// mistake, which Kubernetes would silently ignore.
fn typed<T: DeserializeOwned + Serialize>(manifest: &Value) -> Result<T, String> {
    let typed: T = serde_json::from_value(manifest.clone()).map_err(|error| error.to_string())?;
    let kept = serde_json::to_value(&typed).unwrap();
    match lost(manifest, &kept, String::new()) {
        Some(place) => Err(format!("{place} means nothing")),
        None => Ok(typed),
    }
}

/// Returns the path of the first field of `given` that `kept` does not have.
fn lost(given: &Value, kept: &Value, place: String) -> Option<String> {
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => given.iter().find_map(|(name, value)| {
            let place = format!("{place}.{name}");
            match kept.get(name) {
                Some(kept) => lost(value, kept, place),
                // Empty means the same as absent.
                None if value.as_object().is_some_and(serde_json::Map::is_empty) => None,
                None => Some(place),
            }
        }),
        (Value::Array(given), Value::Array(kept)) if given.len() == kept.len() => {
            let both = given.iter().zip(kept).enumerate();
            both.into_iter()
                .find_map(|(at, (given, kept))| lost(given, kept, format!("{place}[{at}]")))
        }
        (Value::Number(_), Value::Number(_)) => None,
        (given, kept) => (given != kept).then_some(place),
    }
}

fn parts() -> (Deployment, PodSpec, Container) {
    let deployment: Deployment =
        typed(&manifests(&packaging("kubernetes.yaml"))["Deployment"]).unwrap();
    let pod = deployment.spec.clone().template.spec.unwrap();
    let [container] = &pod.containers[..] else { panic!("one container") };
    let container = container.clone();
    (deployment, pod, container)
}

#[test]
fn every_manifest_is_what_kubernetes_takes() {
    let text = packaging("kubernetes.yaml");
    let all = manifests(&text);
    let namespace: Namespace = typed(&all["Namespace"]).unwrap();
    let class: PriorityClass = typed(&all["PriorityClass"]).unwrap();
    let service: Service = typed(&all["Service"]).unwrap();
    let policy: NetworkPolicy = typed(&all["NetworkPolicy"]).unwrap();
    let (deployment, pod, container) = parts();
    assert_eq!(all.len(), 5, "each kind is checked");

    // The check can fail.
    let wrong = text.replace("terminationGracePeriodSeconds", "terminationGraceSeconds");
    let error = typed::<Deployment>(&manifests(&wrong)["Deployment"]).unwrap_err();
    assert_eq!(error, ".spec.template.spec.terminationGraceSeconds means nothing");
    let wrong = text.replace("replicas: 1", "replicas: one");
    assert!(typed::<Deployment>(&manifests(&wrong)["Deployment"]).is_err());

    // The manifests refer to each other correctly.
    let name = namespace.metadata.name;
    for metadata in [&deployment.metadata, &service.metadata, &policy.metadata] {
        assert_eq!(metadata.namespace, name);
    }
    assert_eq!(pod.priority_class_name, class.metadata.name);
    let spec = deployment.spec;
    let labels = spec.template.metadata.unwrap().labels;
    assert_eq!(spec.selector.match_labels, labels);
    assert_eq!(service.spec.unwrap().selector, labels);
    let policy = policy.spec.unwrap();
    assert_eq!(policy.pod_selector.unwrap().match_labels, labels);
    assert!(
        policy
            .ingress
            .unwrap()
            .iter()
            .all(|rule| rule.from.as_ref().is_some_and(|it| !it.is_empty()))
    );

    // The pod runs where others do not, with as few rights as it needs.
    assert!(
        pod.tolerations
            .unwrap()
            .iter()
            .any(|it| it.key.is_none() && it.operator.as_deref() == Some("Exists"))
    );
    assert!(pod.affinity.unwrap().node_affinity.is_some(), "not on the machine that it repairs");
    assert_eq!(container.image_pull_policy.as_deref(), Some("IfNotPresent"));
    assert_eq!(pod.automount_service_account_token, Some(false));
    assert_eq!(pod.security_context.unwrap().run_as_non_root, Some(true));
    let security = container.security_context.unwrap();
    assert_eq!(security.read_only_root_filesystem, Some(true));
    assert_eq!(security.allow_privilege_escalation, Some(false));
    let volumes = pod.volumes.unwrap();
    for mount in container.volume_mounts.unwrap() {
        let volume = volumes.iter().find(|volume| volume.name == mount.name).unwrap();
        let in_memory = volume.empty_dir.as_ref().and_then(|it| it.medium.as_deref());
        let secret = volume.secret.is_some() && mount.read_only == Some(true);
        assert!(secret || in_memory == Some("Memory"), "{}", mount.name);
    }
    for probe in [container.readiness_probe, container.liveness_probe] {
        assert_eq!(probe.unwrap().http_get.unwrap().path.as_deref(), Some("/health"));
    }
}

#[test]
fn every_variable_of_the_manifests_is_a_setting_and_its_value_is_taken() {
    let (_, pod, container) = parts();
    assert_eq!(container.args.as_deref(), Some(&["serve".to_owned()][..]));
    let command = Serve::command();
    let flag = |name: &str| {
        let mut args = command.get_arguments();
        let arg = args.find(|arg| arg.get_env().is_some_and(|known| known == name))?;
        Some(format!("--{}", arg.get_long()?))
    };
    let mut argv = vec!["breakglass".to_owned()];
    for variable in container.env.unwrap() {
        match (flag(&variable.name), variable.value) {
            (Some(flag), Some(value)) => argv.extend([flag, value]),
            (None, _) => {
                let known = ["HOME", "CLAUDE_CODE_OAUTH_TOKEN", TOKEN_VARIABLE];
                assert!(known.contains(&variable.name.as_str()), "{}", variable.name);
            }
            (Some(_), None) => panic!("{} has no value", variable.name),
        }
    }
    let settings = Serve::try_parse_from(argv).unwrap_or_else(|error| panic!("{error}")).settings;
    // Each path in the settings is in a volume, and the port is the container's.
    let mounts: Vec<PathBuf> =
        container.volume_mounts.unwrap().into_iter().map(|mount| mount.mount_path.into()).collect();
    for path in [settings.key_path.unwrap(), settings.runtime_dir.unwrap(), settings.sessions_dir] {
        assert!(mounts.iter().any(|mount| path.starts_with(mount)), "{}", path.display());
    }
    assert_eq!(i32::from(settings.listen.port()), container.ports.unwrap()[0].container_port);
    assert!(!settings.proxies.is_empty(), "the user header of the edge proxy is believed");
    for host in [settings.devvm_host, settings.pve_host] {
        assert!(host.parse::<std::net::IpAddr>().is_ok(), "{host} is not an address");
    }
    assert!(pod.termination_grace_period_seconds.unwrap() > 5, "a stop takes up to 5 seconds");
}

#[test]
fn the_image_has_what_the_program_needs_and_the_manifests_say() {
    let recipe = packaging("Dockerfile");
    let (_, pod, _) = parts();
    let cli = format!("@anthropic-ai/claude-code@{}", afk_stand_ins::claude_cli::VERSION);
    assert!(recipe.contains(&cli), "the CLI that the tests drive");
    for package in ["ca-certificates", "openssh-client"] {
        assert!(recipe.contains(package), "{package}");
    }
    let user = pod.security_context.unwrap().run_as_user.unwrap();
    assert!(recipe.contains(&format!("useradd --uid {user} --create-home operator")));
    let lines: Vec<&str> = recipe.lines().filter(|line| !line.starts_with('#')).collect();
    let at = |word: &str| lines.iter().rposition(|line| line.starts_with(word)).expect(word);
    assert_eq!(lines[at("USER")], "USER operator");
    assert_eq!(lines[at("ENTRYPOINT")], "ENTRYPOINT [\"breakglass\"]");
    assert!(at("USER") > at("RUN") && at("USER") > at("COPY"), "nothing is done as root after it");
    // The binary that is copied is the one that the recipe's head tells people to build.
    let copied = lines[at("COPY")].split_whitespace().nth(1).unwrap();
    let built = recipe.lines().find_map(|line| line.split_once("cargo build ")).unwrap().1;
    let word =
        |flag: &str| built.split_whitespace().skip_while(|word| *word != flag).nth(1).unwrap();
    let expected = format!("target/{}/{}/breakglass", word("--target"), word("--profile"));
    assert_eq!(copied, expected);
    assert_eq!(word("-p"), env!("CARGO_PKG_NAME"));
    // Every image is pinned to a release.
    for from in lines.iter().filter_map(|line| line.strip_prefix("FROM ")) {
        let image = from.split(' ').next().unwrap();
        assert!(image.split_once(':').is_some_and(|(_, tag)| tag != "latest"), "{image}");
    }
}

#[test]
fn the_program_is_built_without_the_control_plane() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let tree = |package: &str| {
        let output = Command::new(&cargo)
            .args(["tree", "--offline", "--locked", "--edges", "normal", "--prefix", "none"])
            .args(["--format", "{p}", "--package", package])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let names = |text: &str| -> Vec<String> {
        text.lines().filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect()
    };
    let own = names(&tree("afk-breakglass"));
    let ours: Vec<&String> = own.iter().filter(|name| name.starts_with("afk-")).collect();
    assert!(
        ours.iter()
            .all(|name| ["afk-breakglass", "afk-agent", "afk-http"].contains(&name.as_str())),
        "{ours:?}"
    );
    for never in ["sqlx", "kube", "git2"] {
        assert!(!own.iter().any(|name| name == never), "{never}");
    }
    // The check can fail.
    assert!(names(&tree("afk-remote")).iter().any(|name| name == "afk-engine"));
}
