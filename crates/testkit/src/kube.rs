//! Real Kubernetes for tests: the programs themselves, in namespaces of the test.
//!
//! [`ApiServer`] alone is for programs that talk to an API server: what is asked for is stored, and nobody acts on it.
//!
//! Guarantees: the API server checks who asks (certificates and tokens, RBAC and the Node authorizer); everything ends
//! with the values that started it. Leaves out: how the programs are built ([`crate::tools`]).

mod apiserver;
mod certificates;
mod kubeconfig;
mod kubectl;

pub use apiserver::{ApiServer, Scope};
pub use certificates::{Authority, Identity, Names};
pub use kubectl::Kubectl;
