//! A T3 Code server with its machine, repositories whose agents work there, and a control plane that
//! is armed for them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use afk::demo::{Scenario, sample};
use afk_agent::agents::scripted::script::{Script, Step};
use afk_core::config::Policy;
use afk_core::ids::At;
use afk_fakes::t3::{Flavour, T3Fake};
use afk_sim::fakes::Sim;
use serde_json::Value;

use crate::common::{Control, Plan, World, git, wait_for};
use crate::machine::{Machine, check_out, folder_of};

/// The bearer token that the loop has for the server.
const TOKEN: &str = "the-bearer-of-the-loop";
/// Time limit of the whole story.
const BOUND: Duration = Duration::from_mins(8);
/// Pause between two looks at a run: each look is a process.
const BETWEEN: Duration = Duration::from_millis(300);

/// Who puts the agent's commits on the default branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The agent, from the server's checkout.
    AgentPushes,
    /// The control plane, from the run's own clone.
    WeLand,
}

/// A scenario of the demo in one of the two ways; each has a repository of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) scenario: Scenario,
    pub(crate) way: Way,
}

impl Case {
    fn agent(self) -> &'static str {
        match self.way {
            Way::AgentPushes => "pushes",
            Way::WeLand => "lands",
        }
    }

    pub(crate) fn repo(self) -> String {
        format!("acme/{}-{}", self.scenario.name(), self.agent())
    }

    /// The name of the issue with that number.
    pub(crate) fn issue(self, n: u32) -> String {
        format!("{}#{n}", self.repo())
    }
}

/// The server's machine, the world of the control plane, and the fake server.
pub(crate) struct Cockpit {
    // Dropped before the world, in whose folders it works.
    machine: Machine,
    pub(crate) world: World,
    pub(crate) fake: Arc<T3Fake>,
}

impl Cockpit {
    /// Starts a server of that behaviour, with a repository for each case.
    pub(crate) fn new(flavour: Flavour, cases: &[Case]) -> Self {
        let sim = Sim::new(afk_sim::world::World::new(Policy::default(), At::now()));
        let fake = Arc::new(T3Fake::start(&sim, flavour, TOKEN).unwrap());
        fake.works_outside();
        let files = sample::FILES.iter().map(|(name, text, _)| (*name, *text)).collect();
        let mut world = World::new(&Plan { files, ..Plan::default() });
        world.env.push(("T3_TOKEN".to_owned(), TOKEN.to_owned()));
        for folder in ["origins", "checkouts", "scripts"] {
            fs::create_dir_all(world.path(folder)).unwrap();
        }
        let here =
            Self { machine: Machine::start(&sim, &fake, &world.afk, &world.path("")), world, fake };
        for case in cases {
            here.add(*case);
        }
        fs::write(here.world.path("afk.toml"), here.config(cases)).unwrap();
        here
    }

    fn add(&self, case: Case) {
        let folder = folder_of(&case.repo());
        let checkout = self.world.path("checkouts").join(&folder);
        let first = self.world.path("origin.git");
        let (first, origin) = (first.to_str().unwrap(), self.origin(case));
        let origins = self.world.path("origins");
        git(&origins, &["clone", "-q", "--bare", first, origin.to_str().unwrap()]);
        match case.way {
            Way::AgentPushes => check_out(&origin, &checkout),
            // The server's project needs a folder, but nothing is done in it.
            Way::WeLand => fs::create_dir(checkout).unwrap(),
        }
        let mut script = sample::script(case.scenario, 0);
        for step in script.turns.iter_mut().flat_map(|turn| &mut turn.steps) {
            // The agent thinks until the gate is open, so that the test decides how long.
            if matches!(step, Step::Wait { .. }) {
                *step = wait_for(self.world.path("gate/thought"));
            }
        }
        self.script(case, &script);
    }

    /// Gives the agent of a repository these turns.
    pub(crate) fn script(&self, case: Case, script: &Script) {
        let file = self.world.path("scripts").join(format!("{}.json", folder_of(&case.repo())));
        fs::write(file, serde_json::to_vec(script).unwrap()).unwrap();
    }

    fn config(&self, cases: &[Case]) -> String {
        let text_of = |path: PathBuf| toml::Value::String(path.to_string_lossy().into());
        let path = |name: &str| text_of(self.world.path(name));
        let repos: Vec<String> = cases.iter().map(|case| case.repo()).collect();
        let (url, bell) = (self.fake.url(), self.world.bell.url());
        let mut text = format!(
            "kill_switch = false\nallowlist = {repos:?}\ndata_dir = {data}\nsandbox = \
             \"required\"\npoll_seconds = 1\nbudget_usd = 5\nmax_concurrent_runs = 100\n\
             fix_forward_max_attempts = 2\nnotify = [{{ kind = \"webhook\", url = {bell:?}, secret \
             = {{ env = \"AFK_E2E_BELL\" }} }}]\n",
            data = path("data"),
        );
        for (name, lands) in [("pushes", "agent"), ("lands", "control-plane")] {
            write!(
                text,
                "\n[agents.{name}]\nkind = \"t3\"\nurl = {url:?}\ntoken = {{ env = \"T3_TOKEN\" \
                 }}\nbase = {base}\nlands = {lands:?}\npoll_seconds = 1\nturn_usd = 1\n",
                base = path("checkouts"),
            )
            .unwrap();
        }
        for case in cases {
            write!(
                text,
                "\n[repos.{repo:?}]\nremote = {origin}\nverify = [\"sh\", \"test.sh\"]\nagent = \
                 {agent:?}\nproof = {{ repeats = 2 }}\n{keys}\n",
                repo = case.repo(),
                origin = text_of(self.origin(*case)),
                agent = case.agent(),
                keys = sample::landing(case.scenario),
            )
            .unwrap();
        }
        text
    }

    /// Files an issue; with `by`, it is released in that name.
    pub(crate) fn file(&self, case: Case, title: &str, body: &str, by: Option<&str>) {
        let repo = case.repo();
        let mut args = vec!["issue", "new", &repo, title, "--body", body];
        if let Some(by) = by {
            args.extend(["--ready", "--as", by]);
        }
        self.world.ok(&args);
    }

    /// Starts the daemon.
    pub(crate) fn serve(&self) -> Control {
        self.world.start(&["serve"])
    }

    /// Polls until `look` finds something; fails as soon as something went wrong on the machine.
    pub(crate) fn until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + BOUND;
        loop {
            if let Some(found) = look() {
                return found;
            }
            let wrong = self.machine.wrong();
            assert!(wrong.is_empty(), "{}", wrong.join("\n"));
            assert!(Instant::now() < deadline, "not within {BOUND:?}: {what}");
            std::thread::sleep(BETWEEN);
        }
    }

    /// Waits until the newest run on an issue has settled; returns its page.
    pub(crate) fn settled(&self, issue: &str) -> Value {
        self.until(&format!("{issue} is settled"), || {
            let afk = self.world.afk(&["show", issue, "--json"]);
            let page: Value = serde_json::from_slice(&afk.stdout).ok()?;
            (page["summary"]["settled"] == true).then_some(page)
        })
    }

    /// The gates that refuse an issue, with their reasons, as JSON.
    pub(crate) fn refused_by(&self, issue: &str) -> Vec<String> {
        let said = self.world.json(&["explain", issue]);
        let gates = said["gates"].as_array().unwrap();
        let failed = gates.iter().filter(|one| one["verdict"] == "failed");
        failed.map(ToString::to_string).collect()
    }

    /// The one comment of the loop on an issue.
    #[track_caller]
    pub(crate) fn comment(issue: &Value) -> String {
        let comments = issue["comments"].as_array().unwrap();
        let bodies = comments.iter().filter_map(|one| one["body"].as_str());
        let own: Vec<&str> = bodies.filter(|body| body.contains("AFK run progress")).collect();
        let [comment] = own.as_slice() else { panic!("not one comment: {issue:#}") };
        (*comment).to_owned()
    }

    /// The doorbells about an issue, by their kinds, each once.
    pub(crate) fn rung(&self, issue: &str) -> Vec<Value> {
        let mut seen = BTreeSet::new();
        let all = self.world.bell.rung().into_iter().filter(|one| seen.insert(one.id.clone()));
        let bodies = all.map(|one| serde_json::from_str::<Value>(&one.body).unwrap());
        bodies.filter(|body| body["issue_ref"] == issue).collect()
    }

    /// The number of commits on the default branch after the first.
    pub(crate) fn landed(&self, case: Case) -> usize {
        let count = git(&self.origin(case), &["rev-list", "--count", "main"]);
        count.trim().parse::<usize>().unwrap() - 1
    }

    /// All refs of the remote, one a line.
    pub(crate) fn branches(&self, case: Case) -> String {
        git(&self.origin(case), &["for-each-ref", "--format=%(refname)"])
    }

    fn origin(&self, case: Case) -> PathBuf {
        self.world.path("origins").join(format!("{}.git", folder_of(&case.repo())))
    }

    /// Checks that nothing went wrong on the server's machine.
    pub(crate) fn done(&self) {
        assert_eq!(self.machine.wrong(), Vec::<String>::new());
    }
}
