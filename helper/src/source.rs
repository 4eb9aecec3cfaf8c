//! Where objects come from: a folder of manifests, or the Kubernetes API.
//!
//! Guarantees: nothing is acted upon before all of it is known, or known from before.

use std::collections::BTreeMap;
use std::time::Duration;

use sortie_core::allocation::Giver;
use sortie_core::model::PodReference;
use tokio::time::timeout;

use crate::catalogue::Catalogue;
use crate::cli::{RunOptions, SourceOptions};
use crate::due::Due;
use crate::folder::Manifests;
use crate::kubernetes::events::Happening;
use crate::kubernetes::{Answer, Api};

/// How long the API is waited for when there is something to go on with.
const GRACE: Duration = Duration::from_secs(2);

/// One of the two.
#[derive(Debug)]
pub(crate) enum Source {
    Folder(Manifests),
    Kubernetes(Api),
}

/// What is known about a pod that is about to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// The source holds it now.
    Found,
    /// Nobody is to be asked.
    Absent,
    /// It was asked for and not found, and why.
    Unknown(String),
}

impl Source {
    /// Listens from now on. Must be called inside a runtime.
    pub(crate) async fn open(options: &RunOptions) -> anyhow::Result<Self> {
        Ok(match &options.source {
            SourceOptions::Manifests(folder) => Self::Folder(Manifests::watch(folder)?),
            SourceOptions::Kubernetes(kubernetes) => Self::Kubernetes(Api::watch(&options.node, kubernetes).await?),
        })
    }

    /// Waits until everything is known: for ever if nothing is known from before.
    pub(crate) async fn begin(&mut self, before: &Catalogue) {
        match self {
            Self::Folder(_) => {}
            Self::Kubernetes(api) if before.is_empty() => api.complete().await,
            Self::Kubernetes(api) => {
                if timeout(GRACE, api.complete()).await.is_err() {
                    log::warn!("the Kubernetes API has not answered yet, going on with what was known");
                }
            }
        }
    }

    /// Waits until there is something to read. Dropping the future loses nothing.
    pub(crate) async fn changed(&mut self) {
        match self {
            Self::Folder(folder) => folder.changed().await,
            Self::Kubernetes(api) => api.changed().await,
        }
    }

    /// Brings the catalogue up to date; whether anything is different.
    pub(crate) fn read(&mut self, catalogue: &mut Catalogue) -> bool {
        match self {
            Self::Folder(folder) => catalogue.update(folder.read()),
            Self::Kubernetes(api) => catalogue.update_from_api(api.holding()),
        }
    }

    /// Who gives tables to routes and addresses to Services.
    pub(crate) fn giver(&self) -> Giver {
        match self {
            Self::Folder(_) => Giver::Here,
            Self::Kubernetes(_) => Giver::Cluster,
        }
    }

    /// What the Kubernetes API should say.
    pub(crate) fn propose(&self, due: impl FnOnce() -> Due) {
        if let Self::Kubernetes(api) = self {
            api.propose(due);
        }
    }

    /// Kinds that are watched, and whether that fails at present.
    pub(crate) fn watches(&self) -> BTreeMap<String, bool> {
        match self {
            Self::Folder(_) => BTreeMap::new(),
            Self::Kubernetes(api) => api.watches(),
        }
    }

    /// Tells of something that happened to an object, where there is somebody who looks.
    pub(crate) fn tell(&self, happening: impl FnOnce() -> Happening) {
        if let Self::Kubernetes(api) = self {
            api.tell(happening());
        }
    }

    /// Looks for a pod that is not in the catalogue; `None` when there is nobody to ask.
    pub(crate) fn ask_for(&self, pod: &PodReference) -> Option<impl Future<Output = Answer> + 'static> {
        match self {
            Self::Folder(_) => None,
            Self::Kubernetes(api) => Some(api.ask_for(pod)),
        }
    }

    /// Takes the answer to such a question.
    pub(crate) fn learn(&mut self, answer: Answer) -> Lookup {
        match self {
            Self::Folder(_) => Lookup::Absent,
            Self::Kubernetes(api) => api.learn(answer),
        }
    }
}
