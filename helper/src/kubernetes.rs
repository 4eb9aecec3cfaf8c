//! The Kubernetes API: our kinds as it knows them.

pub(crate) mod crds;
mod types;
