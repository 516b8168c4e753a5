//! Whether a workload of Kubernetes has rolled out a commit, from its object. Pure.
//!
//! The rules are those of `kubectl rollout status`, but stricter where that succeeds without the
//! commit running: zero replicas and a partition above zero are no success. Fields are those of
//! `apps/v1`; numbers that the server leaves out are 0.

use afk_core::ids::Oid;
use serde::Deserialize;

use crate::stages::commit;

/// A Deployment, `StatefulSet` or `DaemonSet`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Workload {
    pub(super) metadata: Metadata,
    pub(super) spec: Spec,
    pub(super) status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) generation: i64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Spec {
    /// The wanted number of replicas: 1 if it was left out. A `DaemonSet` has none.
    pub(super) replicas: Option<i64>,
    pub(super) template: Template,
    /// Only of a `StatefulSet` or `DaemonSet`.
    pub(super) update_strategy: UpdateStrategy,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Template {
    pub(super) spec: PodSpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PodSpec {
    pub(super) containers: Vec<Container>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) image: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct UpdateStrategy {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) rolling_update: Option<RollingUpdate>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct RollingUpdate {
    /// In a `StatefulSet`, pods below this ordinal keep the old revision.
    pub(super) partition: i64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Status {
    pub(super) observed_generation: i64,
    pub(super) replicas: i64,
    pub(super) ready_replicas: i64,
    pub(super) updated_replicas: i64,
    pub(super) available_replicas: i64,
    pub(super) current_revision: String,
    pub(super) update_revision: String,
    pub(super) desired_number_scheduled: i64,
    pub(super) updated_number_scheduled: i64,
    pub(super) number_available: i64,
    pub(super) conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) reason: String,
    pub(super) message: String,
}

/// The kind of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Deployment,
    StatefulSet,
    DaemonSet,
}

/// The commit that a workload's images name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Runs {
    /// The commit in question.
    Ours,
    /// The digits of other commits, perhaps later ones. Empty if no image names a commit.
    Others(Vec<String>),
}

/// How far a rollout is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rollout {
    /// It is under way, or cannot succeed as the workload is. The text says what it waits for.
    Waits(String),
    /// It is finished.
    Done,
    /// The cluster gave it up. The text says why.
    Failed(String),
}

impl Workload {
    /// The commit that the image of `container` names, or that of any container without a name.
    pub(super) fn runs(&self, commit: &Oid, container: Option<&str>) -> Runs {
        let containers = self.spec.template.spec.containers.iter();
        let counted = containers.filter(|one| container.is_none_or(|name| one.name == name));
        let tags: Vec<_> = counted.filter_map(|one| tag(&one.image)).collect();
        if tags.iter().any(|tag| commit::names(tag, commit)) {
            return Runs::Ours;
        }
        Runs::Others(tags.into_iter().filter_map(commit::named).collect())
    }

    /// How far its rollout is.
    pub(super) fn rollout(&self, kind: Kind) -> Rollout {
        let unseen = self.metadata.generation > self.status.observed_generation;
        // Conditions and counts are about the observed generation, which is not this one yet.
        if unseen || self.status.observed_generation == 0 {
            return Rollout::Waits("its new specification is not observed yet".to_owned());
        }
        match kind {
            Kind::Deployment => self.deployment(),
            Kind::StatefulSet => self.stateful_set(),
            Kind::DaemonSet => self.daemon_set(),
        }
    }

    fn deployment(&self) -> Rollout {
        let (status, replicas) = (&self.status, self.replicas());
        let progressing = status.conditions.iter().find(|one| one.kind == "Progressing");
        if let Some(stalled) = progressing.filter(|one| one.reason == "ProgressDeadlineExceeded") {
            return Rollout::Failed(self.told(&stalled.message));
        }
        if replicas == 0 {
            return none_wanted();
        }
        if status.updated_replicas < replicas {
            return waits(status.updated_replicas, replicas, "replicas are updated");
        }
        if status.replicas > status.updated_replicas {
            let old = status.replicas - status.updated_replicas;
            return Rollout::Waits(format!("{old} old replicas are still there"));
        }
        if status.available_replicas < status.updated_replicas {
            let (have, want) = (status.available_replicas, status.updated_replicas);
            return waits(have, want, "updated replicas are available");
        }
        Rollout::Done
    }

    fn stateful_set(&self) -> Rollout {
        let (status, replicas) = (&self.status, self.replicas());
        let strategy = &self.spec.update_strategy;
        if !is_rolling(strategy) {
            return not_rolling(strategy);
        }
        if replicas == 0 {
            return none_wanted();
        }
        if status.ready_replicas < replicas {
            return waits(status.ready_replicas, replicas, "replicas are ready");
        }
        let partition = strategy.rolling_update.as_ref().map_or(0, |rolling| rolling.partition);
        if partition > 0 {
            let what = format!("its partition keeps the old revision below ordinal {partition}");
            return Rollout::Waits(what);
        }
        if strategy.rolling_update.is_some() {
            if status.updated_replicas < replicas {
                return waits(status.updated_replicas, replicas, "replicas are updated");
            }
        } else if status.update_revision != status.current_revision {
            return Rollout::Waits("pods of the old revision are still there".to_owned());
        }
        Rollout::Done
    }

    fn daemon_set(&self) -> Rollout {
        let (status, strategy) = (&self.status, &self.spec.update_strategy);
        if !is_rolling(strategy) {
            return not_rolling(strategy);
        }
        let wanted = status.desired_number_scheduled;
        if wanted == 0 {
            return none_wanted();
        }
        if status.updated_number_scheduled < wanted {
            return waits(status.updated_number_scheduled, wanted, "pods are updated");
        }
        if status.number_available < wanted {
            return waits(status.number_available, wanted, "updated pods are available");
        }
        Rollout::Done
    }

    /// The wanted number of replicas; the server's default is 1.
    fn replicas(&self) -> i64 {
        self.spec.replicas.unwrap_or(1)
    }

    /// The text of a failure: `why`, and what other conditions say is wrong.
    fn told(&self, why: &str) -> String {
        let wrong = self.status.conditions.iter().filter(|one| match one.kind.as_str() {
            "Available" => one.status == "False",
            "ReplicaFailure" => one.status == "True",
            _ => false,
        });
        let wrong = wrong.map(|one| format!("{}: {}", one.reason, one.message));
        let first = if why.is_empty() { "its progress deadline is exceeded" } else { why };
        std::iter::once(first.to_owned()).chain(wrong).collect::<Vec<_>>().join("\n")
    }
}

/// Whether the strategy is a rolling update, which is the server's default.
fn is_rolling(strategy: &UpdateStrategy) -> bool {
    matches!(strategy.kind.as_str(), "RollingUpdate" | "")
}

fn not_rolling(strategy: &UpdateStrategy) -> Rollout {
    let kind = &strategy.kind;
    Rollout::Waits(format!(
        "its update strategy {kind} replaces pods only as somebody deletes them"
    ))
}

fn none_wanted() -> Rollout {
    Rollout::Waits("no replica is wanted, so that nothing runs".to_owned())
}

fn waits(have: i64, want: i64, what: &str) -> Rollout {
    Rollout::Waits(format!("{have} of {want} {what}"))
}

/// An image's tag: what follows the colon in its last path segment, without any digest.
fn tag(image: &str) -> Option<&str> {
    let image = image.split_once('@').map_or(image, |(image, _)| image);
    let last = image.rsplit('/').next()?;
    last.split_once(':').map(|(_, tag)| tag)
}

#[cfg(test)]
mod tests;
