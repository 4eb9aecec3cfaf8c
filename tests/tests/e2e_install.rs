//! Getting on a node and off again: files of other people, upgrades under load, rights, manifests.

#[path = "install/files.rs"]
mod files;
#[path = "install/kubectl.rs"]
mod kubectl;
#[path = "install/manifests.rs"]
mod manifests;
#[path = "install/node.rs"]
mod node;
#[path = "install/stage.rs"]
mod stage;
